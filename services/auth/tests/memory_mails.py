"""The mails of a store in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from stylobate_auth.mail.kinds import MailKind
from stylobate_auth.model import DueMail, NewMail


@dataclass(frozen=True)
class MailRow:
    """A mail and what became of it."""

    mail: NewMail
    due_at: datetime | None
    attempts: int = 0
    used_at: datetime | None = None


def is_good(row: MailRow, tenant: str, token_hash: bytes, kinds: Sequence[MailKind], now: datetime) -> bool:
    """Return whether the mail has this token, which nobody used yet and whose time is not over."""
    mail = row.mail
    is_it = (mail.tenant, mail.token_hash) == (tenant, token_hash) and mail.kind in kinds and mail.account_id is not None
    return is_it and row.used_at is None and mail.expires_at > now


class MemoryMailQueue:
    """The mails of a store."""

    def __init__(self, store: Any) -> None:
        self._store = store

    async def take(self, now: datetime, until: datetime, most: int) -> list[DueMail]:
        """See the port."""
        tables = self._store._tables
        due = [key for key, row in tables.mails.items() if row.due_at is not None and row.due_at <= now][:most]
        taken = []
        for key in due:
            row = tables.mails[key] = replace(tables.mails[key], due_at=until, attempts=tables.mails[key].attempts + 1)
            mail, account = row.mail, tables.accounts[row.mail.tenant, row.mail.account_id or ""].account
            address = account.email
            if mail.kind is MailKind.CHANGE_EMAIL:
                address = tables.new_emails.get((mail.tenant, account.id), ("", ""))[0]
            elif mail.kind is MailKind.EMAIL_CHANGED:
                address = tables.old_emails.get((mail.tenant, account.id), "")
            taken.append(
                DueMail(
                    mail.tenant,
                    mail.id,
                    account.id,
                    mail.kind,
                    address,
                    account.display_name,
                    mail.asked_at,
                    mail.expires_at,
                    row.attempts,
                )
            )
        return taken

    async def done(self, mail: DueMail) -> None:
        """See the port."""
        tables = self._store._tables
        tables.mails[mail.tenant, mail.id] = replace(tables.mails[mail.tenant, mail.id], due_at=None)
        if mail.kind is MailKind.EMAIL_CHANGED:
            tables.old_emails.pop((mail.tenant, mail.account_id), None)

    async def delay(self, mail: DueMail, until: datetime) -> None:
        """See the port."""
        tables = self._store._tables
        tables.mails[mail.tenant, mail.id] = replace(tables.mails[mail.tenant, mail.id], due_at=until)

    async def holder(self, tenant: str, token_hash: bytes, kinds: Sequence[MailKind], now: datetime) -> str | None:
        """See the port."""
        rows = self._store._tables.mails.values()
        return next((row.mail.account_id for row in rows if is_good(row, tenant, token_hash, kinds, now)), None)
