"""Refresh tokens: how one is made, how the next is derived from it, and what is kept of them."""

import base64
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from stylobate_auth.model import Account, Session

_BYTES = 32
LONGEST = 256
"""Characters; a longer text is none."""


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token as it is kept."""

    hash: bytes
    """SHA-256; the token itself is known to the client alone."""
    issued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class FoundRefresh:
    """A refresh token with the session and the account that it belongs to."""

    token: RefreshToken
    session: Session
    account: Account
    secret: bytes = field(repr=False)
    """What its next one is derived with, once it is used; empty: a process of the release before refreshed the session last."""
    since_issued: timedelta
    """By the clock of the store, which all processes share."""
    since_used: timedelta | None = None
    """None: it was not used."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """A refresh token that is to be spent for the next one."""

    session: Session
    """With its new times and place."""
    spent: RefreshToken
    next: RefreshToken
    secret: bytes = field(repr=False)
    """That the second was derived with."""


def first_token() -> str:
    """Return a session's first token: 43 characters that a URL can hold."""
    return secrets.token_urlsafe(_BYTES)


def next_token(token: str, session: Session, secret: bytes) -> str:
    """Return the token that comes after this one, as often as it is asked for."""
    content = b"\0".join((session.tenant.encode(), UUID(session.id).bytes, token.encode()))
    return base64.urlsafe_b64encode(hmac.digest(secret, content, hashlib.sha256)).rstrip(b"=").decode()


def deriving_secret(found: FoundRefresh, since_issued: timedelta, grace: timedelta) -> bytes:
    """Return what the next token is to be derived with.

    It is another one at each refresh. The one before stays only while tokens that were spent with it may come again: one look
    into the session then leads from any of them to the newest.

    :param since_issued: without the outages in between.
    """
    return found.secret if found.secret and since_issued <= 2 * grace else os.urandom(_BYTES)


def hash_of(token: str) -> bytes:
    """Return what is kept of a token: 256 random bits need no slow hash."""
    return hashlib.sha256(token.encode()).digest()
