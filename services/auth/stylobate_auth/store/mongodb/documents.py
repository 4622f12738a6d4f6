"""How accounts and sessions stand in their documents.

A time is a number of microseconds, which BSON's own are not exact enough for. What has no value is left out.
"""

from datetime import datetime
from typing import Any

from stylobate.database.mongodb import Document, from_micros, micros

from stylobate_auth.account_sealing import ADDRESS, NAME, AccountSealing
from stylobate_auth.errors import AccountUnreadableError
from stylobate_auth.model import Account, Session, SessionEnd

NOW = {"$multiply": [{"$toLong": "$$NOW"}, 1000]}
"""The server's time, in updates that are pipelines."""
OF_PERSON = {"is_service": False}


def given(**values: object) -> dict[str, Any]:
    """Return the members that have a value."""
    return {name: value for name, value in values.items() if value is not None}


def micros_or_none(time: datetime | None) -> int | None:
    """Return a time as it is stored; None where there is none."""
    return None if time is None else micros(time)


def time_or_none(document: Document, name: str) -> datetime | None:
    """Return the time of a member; None where there is none."""
    return None if (stored := document.get(name)) is None else from_micros(stored)


def in_force(now: datetime) -> dict[str, Any]:
    """Return a filter: what has no end, or one that has not come."""
    return {"$or": [{"expires_at": None}, {"expires_at": {"$gt": micros(now)}}]}


async def account_of(document: Document, sealing: AccountSealing) -> Account:
    """Return the account in a document. Raises AccountUnreadableError."""
    tenant, id_ = document["tenant"], document["_id"]
    return _account(
        document,
        await sealing.opened(tenant, id_, ADDRESS, document["email"]),
        await sealing.opened(tenant, id_, NAME, document["display_name"]),
    )


async def account_as_far(document: Document, sealing: AccountSealing) -> Account:
    """Return the account in one of many documents; one that cannot be read has no address and no name, and stops no others."""
    try:
        return await account_of(document, sealing)
    except AccountUnreadableError:
        return _account(document, "", "")


def _account(document: Document, email: str, display_name: str) -> Account:
    return Account(
        tenant=document["tenant"],
        id=document["_id"],
        email=email,
        display_name=display_name,
        roles=tuple(sorted(held["role"] for held in document["roles"])),
        email_verified=document["email_verified"],
        created_at=from_micros(document["created_at"]),
        disabled_at=time_or_none(document, "disabled_at"),
    )


def session_of(document: Document) -> Session:
    """Return the session in a document."""
    end = document.get("end_reason")
    return Session(
        tenant=document["tenant"],
        id=document["_id"],
        account_id=document["account_id"],
        opened_at=from_micros(document["opened_at"]),
        expires_at=from_micros(document["expires_at"]),
        token_expires_at=from_micros(document["token_expires_at"]),
        ended_at=time_or_none(document, "ended_at"),
        end=None if end is None else SessionEnd(end),
        address=document["address"],
        agent=document["agent"],
        seen_at=time_or_none(document, "seen_at"),
    )


def from_session(session: Session) -> dict[str, Any]:
    """Return what is stored of a session's times and place."""
    return given(
        expires_at=micros(session.expires_at),
        token_expires_at=micros(session.token_expires_at),
        address=session.address,
        agent=session.agent,
        seen_at=micros_or_none(session.seen_at),
    )
