"""How accounts and sessions are read from their tables."""

from typing import Any
from uuid import UUID

from stylobate_auth.model import Account, Session, SessionEnd

ACCOUNT_BY_ID = """
select a.tenant, a.id::text, a.email, a.display_name, a.email_verified, a.created_at, a.disabled_at,
       a.password_hash, a.must_verify,
       array(select r.role from account_role r where r.tenant = a.tenant and r.account_id = a.id order by r.role) as roles
from account a
where a.tenant = $1 and a.id = $2
"""
CREDENTIALS = """
select a.tenant, a.id::text, a.email, a.display_name, a.email_verified, a.created_at, a.disabled_at,
       a.password_hash, a.must_verify,
       exists (
           select from login_place p where p.tenant = a.tenant and p.account_id = a.id and p.place = $3 and p.expires_at > $4
       ) as is_known_place,
       array(select r.role from account_role r where r.tenant = a.tenant and r.account_id = a.id order by r.role) as roles
from account a
where a.tenant = $1 and a.email_key = $2
"""


def account_of(row: Any) -> Account:
    """Return the account in a row of these statements."""
    return Account(
        tenant=row["tenant"],
        id=row["id"],
        email=row["email"],
        display_name=row["display_name"],
        roles=tuple(row["roles"]),
        email_verified=row["email_verified"],
        created_at=row["created_at"],
        disabled_at=row["disabled_at"],
    )


def session_of(row: Any) -> Session:
    """Return the session in a row of the table, its id as text."""
    return Session(
        tenant=row["tenant"],
        id=str(row["id"]),
        account_id=str(row["account_id"]),
        opened_at=row["opened_at"],
        expires_at=row["expires_at"],
        token_expires_at=row["token_expires_at"],
        ended_at=row["ended_at"],
        end=None if row["end_reason"] is None else SessionEnd(row["end_reason"]),
        address=row["address"],
        agent=row["agent"],
        seen_at=row["seen_at"],
    )


def uuid_of(text: str) -> UUID | None:
    """Return the id as the database has it; None for what is not a UUID in its usual form."""
    try:
        key = UUID(text)
    except ValueError:
        return None
    return key if str(key) == text else None
