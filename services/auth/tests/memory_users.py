"""People's accounts in memory, as administrators see and change them: the parts of the memory store and its transactions."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from stylobate_auth.model import Account
from stylobate_auth.user import UserPlace, UserQuery


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


def _person(tables: Any, tenant: str, account_id: str) -> Account | None:
    place = tenant, account_id
    return None if place in tables.service_accounts or place not in tables.accounts else tables.accounts[place].account
