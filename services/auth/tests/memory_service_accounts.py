"""Service accounts in memory: the parts of the memory store and its transactions."""

from typing import Any

from stylobate_auth.model import Account, NewAccount
from stylobate_auth.service_account import ServiceAccount

from .memory_grants import remove_grants_of


class MemoryServiceAccountChanges:
    """The part of a transaction."""

    tables: Any

    async def add_service_account(self, account: ServiceAccount) -> None:
        """See the port."""
        place = account.tenant, account.id
        as_account = Account(account.tenant, account.id, "", account.name, account.roles, False, account.created_at)
        self.tables.accounts[place] = NewAccount(as_account, account.id, "")
        self.tables.service_accounts[place] = account

    async def remove_service_account(self, tenant: str, account_id: str) -> list[str] | None:
        """See the port."""
        if self.tables.service_accounts.pop((tenant, account_id), None) is None:
            return None
        del self.tables.accounts[tenant, account_id]
        remove_grants_of(self.tables, tenant, account_id)
        keys = [place for place, new in self.tables.api_keys.items() if (new.key.tenant, new.key.owner) == (tenant, account_id)]
        for place in keys:
            del self.tables.api_keys[place]
        return sorted(key_id for _, key_id in keys)


class MemoryServiceAccounts:
    """The part of the store."""

    _tables: Any

    async def service_accounts(self, tenant: str, after: str, limit: int) -> list[ServiceAccount]:
        """See the port."""
        accounts = self._tables.service_accounts.values()
        found = [account for account in accounts if account.tenant == tenant and account.id > after]
        return sorted(found, key=lambda account: account.id)[:limit]
