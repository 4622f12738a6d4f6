"""People's accounts in memory, as administrators see and change them: the parts of the memory store and its transactions."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from stylobate_auth.model import Account
from stylobate_auth.user import UserDeletion, UserPlace, UserQuery

from .memory_grants import remove_grants_of


class MemoryUserChanges:
    """The part of a transaction."""

    tables: Any

    async def hold_user(self, tenant: str, account_id: str) -> Account | None:
        """See the port."""
        return _person(self.tables, tenant, account_id)

    async def set_disabled(self, tenant: str, account_id: str, at: datetime | None) -> None:
        """See the port."""
        row = self.tables.accounts[tenant, account_id]
        self.tables.accounts[tenant, account_id] = replace(row, account=replace(row.account, disabled_at=at))

    async def begin_deletion(self, tenant: str, account_id: str, at: datetime) -> None:
        """See the port."""
        place = tenant, account_id
        row = self.tables.accounts.pop(place)
        del self.tables.emails[tenant, row.email_key]
        self.tables.new_emails.pop(place, None)
        self.tables.old_emails.pop(place, None)
        gone = {key for key, one in self.tables.sessions.items() if (one.tenant, one.account_id) == place}
        self.tables.sessions = {key: one for key, one in self.tables.sessions.items() if key not in gone}
        tokens = self.tables.tokens.items()
        self.tables.tokens = {key: row for key, row in tokens if (key[0], row.session_id) not in gone}
        keys = self.tables.api_keys.items()
        self.tables.api_keys = {key: one for key, one in keys if (one.key.tenant, one.key.owner) != place}
        mails = self.tables.mails.items()
        self.tables.mails = {key: one for key, one in mails if (one.mail.tenant, one.mail.account_id) != place}
        self.tables.places = {key: until for key, until in self.tables.places.items() if key[:2] != place}
        self.tables.held = {key: held for key, held in self.tables.held.items() if key[:2] != place}
        remove_grants_of(self.tables, tenant, account_id)
        self.tables.deletions[place] = UserDeletion(tenant, account_id, at), at

    async def finish_deletion(self, tenant: str, account_id: str, at: datetime) -> bool:
        """See the port."""
        deletion, _ = self.tables.deletions[tenant, account_id]
        if deletion.done_at is not None:
            return False
        self.tables.deletions[tenant, account_id] = replace(deletion, done_at=at), None
        return True

    async def end_api_keys(self, tenant: str, account_id: str, at: datetime) -> list[str]:
        """See the port."""
        held = {
            place: new
            for place, new in self.tables.api_keys.items()
            if (new.key.tenant, new.key.owner) == (tenant, account_id) and new.key.revoked_at is None
        }
        self.tables.api_keys.update({place: replace(new, key=replace(new.key, revoked_at=at)) for place, new in held.items()})
        return sorted(new.key.id for new in held.values())


class MemoryUsers:
    """The part of the store."""

    _tables: Any

    async def user(self, tenant: str, account_id: str) -> Account | None:
        """See the port."""
        return _person(self._tables, tenant, account_id)

    async def users_by_id(self, tenant: str, ids: Sequence[str]) -> list[Account]:
        """See the port."""
        found = [_person(self._tables, tenant, one) for one in {*ids}]
        return [replace(account, roles=()) for account in found if account is not None]

    async def users(self, tenant: str, query: UserQuery, after: UserPlace | None, limit: int) -> list[Account]:
        """See the port."""
        found = [
            row.account
            for place, row in self._tables.accounts.items()
            if place[0] == tenant
            and place not in self._tables.service_accounts
            and query.email in {"", row.email_key}
            and (not query.role or query.role in row.account.roles)
            and (query.created_after is None or row.account.created_at >= query.created_after)
            and (query.created_before is None or row.account.created_at < query.created_before)
            and (after is None or (row.account.created_at, row.account.id) > (after.created_at, after.id))
        ]
        return sorted(found, key=lambda account: (account.created_at, account.id))[:limit]

    async def deletion(self, tenant: str, account_id: str) -> UserDeletion | None:
        """See the port."""
        found = self._tables.deletions.get((tenant, account_id))
        return None if found is None else found[0]

    async def take_deletions(self, now: datetime, until: datetime, most: int) -> list[UserDeletion]:
        """See the port."""
        due = [deletion for deletion, at in self._tables.deletions.values() if at is not None and at <= now][:most]
        for deletion in due:
            await self.delay_deletion(deletion, until)
        return due

    async def delay_deletion(self, deletion: UserDeletion, until: datetime) -> None:
        """See the port."""
        place = deletion.tenant, deletion.id
        if self._tables.deletions[place][1] is not None:
            self._tables.deletions[place] = deletion, until


def _person(tables: Any, tenant: str, account_id: str) -> Account | None:
    place = tenant, account_id
    return None if place in tables.service_accounts or place not in tables.accounts else tables.accounts[place].account
