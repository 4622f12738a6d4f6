"""Clients of OAuth that prove themselves by what they sign (``private_key_jwt``: RFC 7523, OpenID Connect Core §9)."""

import hashlib
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from stylobate.identity import DEFAULT_TENANT, compact_token
from stylobate.identity.access_token import CLOCK_SKEW_S
from stylobate.identity.public_key import ALGORITHMS, read_public_key

from stylobate_auth.api_key import ApiKey
from stylobate_auth.errors import OAuthClientError
from stylobate_auth.model import CLOCKS_DIFFER
from stylobate_auth.store.port import AuthStore

LONGEST = timedelta(hours=1)
"""How long an assertion may hold: what it was used for is remembered as long."""
_MAX_TOKEN = 8192
_MAX_ID = 256
_KINDS = frozenset({"jwt", "client-authentication+jwt", "application/client-authentication+jwt"})
"""``typ``, which may be missing. Our access tokens have another."""


class ClientAssertions:
    """Reads assertions, each of which counts once.

    :param audiences: one of which an assertion must be for: the issuer, and the token endpoint where its address is known.
    :param clock: the time in UTC.
    """

    def __init__(self, store: AuthStore, audiences: Collection[str], *, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._audiences = frozenset(audiences)
        self._clock = clock

    async def prove(self, assertion: str, client_id: str) -> ApiKey:
        """Return the key that an assertion was signed by; it may be over.

        :param client_id: who asks, as far as it says so beside the assertion.
        :raises OAuthClientError: nobody's assertion, or not for us, too early, too late or used before.
        """
        try:
            header = compact_token.header(assertion, longest=_MAX_TOKEN, algorithms=ALGORITHMS)
            if "typ" in header and compact_token.text(header, "typ").lower() not in _KINDS:
                raise ValueError("a token of another kind")
            key_id = compact_token.text(header, "kid") if "kid" in header else ""
            subject = compact_token.text(compact_token.unproven(assertion), "sub")
        except ValueError:
            raise OAuthClientError from None
        if client_id and client_id != subject:
            raise OAuthClientError
        for key in await self._store.public_keys(DEFAULT_TENANT, subject):
            claims = _claims(assertion, key, header["alg"], key_id)
            if claims is not None:
                await self._use(claims, key)
                return key
        raise OAuthClientError

    async def _use(self, claims: dict[str, Any], key: ApiKey) -> None:
        now = self._clock()
        try:
            until = self._end(claims, key.owner, now.timestamp())
            jti = compact_token.text(claims, "jti")
            if len(jti) > _MAX_ID:
                raise ValueError("jti is too long")
        except ValueError:
            raise OAuthClientError from None
        hashed = hashlib.sha256(jti.encode()).digest()
        if not await self._store.use_assertion(DEFAULT_TENANT, key.owner, hashed, until + CLOCKS_DIFFER):
            raise OAuthClientError("The client's assertion was used before.")

    def _end(self, claims: dict[str, Any], client: str, now: float) -> datetime:
        """Return when an assertion ends. Raises ValueError: it is not for us, or not for now."""
        if compact_token.text(claims, "iss") != client or compact_token.text(claims, "sub") != client:
            raise ValueError("of another client")
        named = claims.get("aud")
        audiences = named if isinstance(named, list) else [named]
        # all of them, not one: who else an assertion is for could use it here
        if not audiences or not all(isinstance(name, str) and name in self._audiences for name in audiences):
            raise ValueError("for another audience")
        ends = compact_token.seconds(claims, "exp")
        if not now < ends <= now + LONGEST.total_seconds() + CLOCK_SKEW_S:
            raise ValueError("over, or for too long")
        if "iat" in claims and compact_token.seconds(claims, "iat") > now + CLOCK_SKEW_S:
            raise ValueError("from the future")
        compact_token.check_not_before(claims, now, CLOCK_SKEW_S)
        return datetime.fromtimestamp(ends, UTC)


def _claims(assertion: str, key: ApiKey, algorithm: str, key_id: str) -> dict[str, Any] | None:
    """Return what the key signed; None: it did not."""
    known = read_public_key(key.public_key)
    if algorithm not in known.algorithms or key_id not in {"", known.id}:
        return None
    try:
        return compact_token.claims(assertion, known.key, algorithm)
    except ValueError:
        return None
