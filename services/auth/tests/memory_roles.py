"""Roles of accounts in memory: the parts of the memory store and its transactions."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from stylobate_auth.grant import ROLE
from stylobate_auth.role import EndedRole, HeldRole
from stylobate_auth.role_book import DefinedRole

from .memory_grants import remove_grants_of


def _held(tables: Any, tenant: str, account_id: str) -> list[HeldRole]:
    row = tables.accounts.get((tenant, account_id))
    return [tables.held.get((tenant, account_id, role), HeldRole(role)) for role in (row.account.roles if row else ())]


class MemoryRoleChanges:
    """The part of a transaction."""

    tables: Any
    revokes: bool

    async def held_roles(self, tenant: str, account_id: str) -> list[HeldRole]:
        """See the port."""
        return _held(self.tables, tenant, account_id)

    async def put_held_role(self, tenant: str, account_id: str, held: HeldRole) -> None:
        """See the port."""
        self.tables.held[tenant, account_id, held.role] = held
        self._keep(tenant, account_id, {*self.tables.accounts[tenant, account_id].account.roles, held.role})

    async def remove_held_role(self, tenant: str, account_id: str, role: str) -> None:
        """See the port."""
        self.tables.held.pop((tenant, account_id, role), None)
        self._keep(tenant, account_id, {*self.tables.accounts[tenant, account_id].account.roles} - {role})

    async def hold_administrators(self, tenant: str) -> set[str]:
        """See the port; the transaction holds everything anyway."""
        return {
            account_id
            for of, account_id in self.tables.accounts.keys() - self.tables.service_accounts.keys()
            if of == tenant
            and self.tables.accounts[of, account_id].account.disabled_at is None
            and any(h.role == "admin" and h.expires_at is None for h in _held(self.tables, of, account_id))
        }

    async def end_roles(self, now: datetime, most: int) -> list[EndedRole]:
        """See the port."""
        due = sorted(
            (held.expires_at, *place)
            for place, held in self.tables.held.items()
            if held.expires_at is not None and held.expires_at <= now
        )[:most]
        for _, *place in due:
            await self.remove_held_role(*place)
        return [EndedRole(*place) for _, *place in due]

    async def hold_defined_roles(self) -> list[DefinedRole]:
        """See the port."""
        return [*self.tables.defined.values()]

    async def hold_roles(self, tenant: str, names: Sequence[str]) -> set[str]:
        """See the port; the transaction holds everything anyway."""
        return {name for name in names if (tenant, name) in self.tables.defined}

    async def put_defined_role(self, role: DefinedRole) -> None:
        """See the port."""
        self.tables.defined[role.tenant, role.name] = role

    async def remove_defined_role(self, tenant: str, name: str) -> None:
        """See the port."""
        del self.tables.defined[tenant, name]
        remove_grants_of(self.tables, tenant, f"{ROLE}{name}")
        for of, account_id in [*self.tables.accounts]:
            if of == tenant:
                await self.remove_held_role(of, account_id, name)

    async def change_access(self) -> None:
        """See the port."""
        self.tables.access_version += 1
        self.revokes = True

    def _keep(self, tenant: str, account_id: str, roles: set[str]) -> None:
        row = self.tables.accounts[tenant, account_id]
        account = replace(row.account, roles=tuple(sorted(roles)))
        self.tables.accounts[tenant, account_id] = replace(row, account=account)


class MemoryRoles:
    """The part of the store."""

    _tables: Any

    async def roles(self, subjects: Sequence[tuple[str, str]], now: datetime) -> Any:
        """See the port."""
        held = {subject: _held(self._tables, *subject) for subject in subjects}
        found = {
            subject: tuple(one.role for one in roles if one.expires_at is None or one.expires_at > now)
            for subject, roles in held.items()
        }
        return self._tables.access_version, {subject: roles for subject, roles in found.items() if roles}

    async def defined_roles(self) -> Any:
        """See the port."""
        return self._tables.access_version, [*self._tables.defined.values()]

    async def held_roles(self, tenant: str, account_id: str) -> list[HeldRole]:
        """See the port."""
        return _held(self._tables, tenant, account_id)

    async def next_role_end(self) -> datetime | None:
        """See the port."""
        return min((held.expires_at for held in self._tables.held.values() if held.expires_at is not None), default=None)
