"""How accounts and sessions are read from their tables."""

from typing import Any

from stylobate_auth.account_sealing import ADDRESS, NAME, AccountSealing
from stylobate_auth.errors import AccountUnreadableError
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
where a.tenant = $1 and a.email_key = any ($2::text[])
"""


async def account_of(row: Any, sealing: AccountSealing) -> Account:
    """Return the account in a row of these statements. Raises AccountUnreadableError."""
    tenant, id_ = row["tenant"], row["id"]
    return _account(
        row,
        await sealing.opened(tenant, id_, ADDRESS, row["email"]),
        await sealing.opened(tenant, id_, NAME, row["display_name"]),
    )


async def account_as_far(row: Any, sealing: AccountSealing) -> Account:
    """Return the account in one of many rows; one that cannot be read has no address and no name, and stops no others."""
    try:
        return await account_of(row, sealing)
    except AccountUnreadableError:
        return _account(row, "", "")


def _account(row: Any, email: str, display_name: str) -> Account:
    return Account(
        tenant=row["tenant"],
        id=row["id"],
        email=email,
        display_name=display_name,
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
