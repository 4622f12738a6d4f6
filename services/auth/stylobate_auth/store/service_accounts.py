"""What auth keeps of service accounts: its part of the port."""

from typing import Protocol

from stylobate_auth.service_account import ServiceAccount


class ServiceAccountChanges(Protocol):
    """What a transaction does with them."""

    async def add_service_account(self, account: ServiceAccount) -> None:
        """Add one with its roles: an account that no address and no password leads to."""

    async def remove_service_account(self, tenant: str, account_id: str) -> list[str] | None:
        """Remove one with its keys and return their ids; None when there is none. A person's account stays."""


class ServiceAccounts(Protocol):
    """How they are read."""

    async def service_accounts(self, tenant: str, after: str, limit: int) -> list[ServiceAccount]:
        """Return those of a tenant by id, from behind that one; empty: from the first."""
