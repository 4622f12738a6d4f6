"""Mails in PostgreSQL: what is due, and what becomes of it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from stylobate.database import DatabaseManager

from stylobate_auth.account_sealing import ADDRESS, NAME, AccountSealing
from stylobate_auth.errors import AccountUnreadableError
from stylobate_auth.mail.kinds import MailKind
from stylobate_auth.model import DueMail

# The address is the one that the account has by now: a mail never goes to one that it gave up, unless it is about that.
_TAKE = """
with due as (
    select tenant, id from mail where due_at <= $1 order by due_at limit $3 for update skip locked
), taken as (
    update mail m set due_at = $2, attempts = m.attempts + 1 from due where (m.tenant, m.id) = (due.tenant, due.id)
    returning m.tenant, m.id, m.account_id, m.kind, m.asked_at, m.expires_at, m.attempts
)
select t.*, a.display_name,
       case t.kind when 'change_email' then a.new_email when 'email_changed' then a.old_email else a.email end as address
from taken t left join account a on a.tenant = t.tenant and a.id = t.account_id
order by t.asked_at
"""
_DONE = "update mail set due_at = null where tenant = $1 and id = $2"
_FORGET_OLD = """
update account a set old_email = null from mail m
where m.tenant = $1 and m.id = $2 and m.kind = 'email_changed' and (a.tenant, a.id) = (m.tenant, m.account_id)
"""
_DELAY = "update mail set due_at = $3 where tenant = $1 and id = $2 and due_at is not null"
_HOLDER = """
select account_id::text from mail
where tenant = $1 and token_hash = $2 and kind = any ($3::text[]) and used_at is null and expires_at > $4
"""


class PostgresMailQueue:
    """The port on the service's own schema."""

    def __init__(self, database: DatabaseManager, sealing: AccountSealing) -> None:
        self._database = database
        self._sealing = sealing

    async def take(self, now: datetime, until: datetime, most: int) -> list[DueMail]:
        return [await self._due(row) for row in await self._database.fetch(_TAKE, now, until, most)]

    async def _due(self, row: Any) -> DueMail:
        tenant, account_id = row["tenant"], "" if row["account_id"] is None else str(row["account_id"])
        return DueMail(
            tenant=tenant,
            id=str(row["id"]),
            account_id=account_id,
            kind=MailKind(row["kind"]),
            address=await self._opened(tenant, account_id, ADDRESS, row["address"]),
            name=await self._opened(tenant, account_id, NAME, row["display_name"]),
            asked_at=row["asked_at"],
            expires_at=row["expires_at"],
            attempts=row["attempts"],
        )

    async def _opened(self, tenant: str, account_id: str, what: str, stored: str | None) -> str:
        """Return what is stored; empty where it cannot be read: such a mail goes nowhere, and the others go."""
        try:
            return await self._sealing.opened(tenant, account_id, what, stored or "")
        except AccountUnreadableError:
            return ""

    async def done(self, mail: DueMail) -> None:
        key = UUID(mail.id)
        await self._database.execute(_DONE, mail.tenant, key)
        if mail.kind is MailKind.EMAIL_CHANGED:
            await self._database.execute(_FORGET_OLD, mail.tenant, key)

    async def delay(self, mail: DueMail, until: datetime) -> None:
        await self._database.execute(_DELAY, mail.tenant, UUID(mail.id), until)

    async def holder(self, tenant: str, token_hash: bytes, kinds: Sequence[MailKind], now: datetime) -> str | None:
        found: str | None = await self._database.fetchval(_HOLDER, tenant, token_hash, [kind.value for kind in kinds], now)
        return found
