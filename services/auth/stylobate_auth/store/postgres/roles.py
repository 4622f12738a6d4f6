"""Roles of accounts in PostgreSQL: what the store and its transactions do with them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from stylobate.database import Connection, DatabaseManager

from stylobate_auth.role import EndedRole, HeldRole
from stylobate_auth.role_book import DefinedRole
from stylobate_auth.store.postgres.grants import remove_grants_of_role
from stylobate_auth.store.roles import RolesHeld
from stylobate_auth.uuids import uuid_of

# One snapshot: what is held, and the version that says what roles mean.
_ROLES = """
select s.version, h.tenant, h.id, h.roles
from access_state s
left join (
    select r.tenant, r.account_id::text as id, array_agg(r.role order by r.role) as roles
    from unnest($1::text[], $2::uuid[]) as q (tenant, account_id)
    join account_role r using (tenant, account_id)
    where r.expires_at is null or r.expires_at > $3
    group by r.tenant, r.account_id
) h on true
"""
_DEFINED = """
select s.version, r.tenant, r.name, r.description, r.permissions, r.inherits, r.changed_at
from access_state s left join role r on true
"""
_LOCK_DEFINED = "lock table role in share row exclusive mode"
_HOLD = "select name from role where tenant = $1 and name = any ($2::text[]) order by name for key share"
_PUT_DEFINED = """
insert into role (tenant, name, description, permissions, inherits, changed_at) values ($1, $2, $3, $4, $5, $6)
on conflict (tenant, name) do update
set description = excluded.description, permissions = excluded.permissions, inherits = excluded.inherits,
    changed_at = excluded.changed_at
"""
_REMOVE_DEFINED = "delete from role where tenant = $1 and name = $2"
_REMOVE_EVERYWHERE = "delete from account_role where tenant = $1 and role = $2"
_HELD = """
select role, expires_at, assigned_at, assigned_by from account_role where tenant = $1 and account_id = $2 order by role
"""
_PUT = """
insert into account_role (tenant, account_id, role, expires_at, assigned_at, assigned_by) values ($1, $2, $3, $4, $5, $6)
on conflict (tenant, account_id, role) do update
set expires_at = excluded.expires_at, assigned_at = excluded.assigned_at, assigned_by = excluded.assigned_by
"""
_REMOVE = "delete from account_role where tenant = $1 and account_id = $2 and role = $3"
_ADMINISTRATORS = """
select r.account_id::text as id
from account_role r join account a on a.tenant = r.tenant and a.id = r.account_id
where r.tenant = $1 and r.role = 'admin' and r.expires_at is null and not a.is_service and a.disabled_at is null
order by r.account_id
for update
"""
_END = """
delete from account_role where (tenant, account_id, role) in (
    select tenant, account_id, role from account_role where expires_at <= $1 order by expires_at limit $2 for update skip locked
)
returning tenant, account_id::text as account_id, role
"""
_NEXT_END = "select min(expires_at) from account_role where expires_at is not null"
_CHANGE_ACCESS = "update access_state set version = version + 1"


class PostgresRoleChanges:
    """The part of a transaction."""

    _connection: Connection
    _changes_access: bool

    async def held_roles(self, tenant: str, account_id: str) -> list[HeldRole]:
        return [*map(_held_of, await self._connection.fetch(_HELD, tenant, UUID(account_id)))]

    async def put_held_role(self, tenant: str, account_id: str, held: HeldRole) -> None:
        values = (held.role, held.expires_at, held.assigned_at, held.assigned_by)
        await self._connection.execute(_PUT, tenant, UUID(account_id), *values)

    async def remove_held_role(self, tenant: str, account_id: str, role: str) -> None:
        await self._connection.execute(_REMOVE, tenant, UUID(account_id), role)

    async def hold_administrators(self, tenant: str) -> set[str]:
        return {row["id"] for row in await self._connection.fetch(_ADMINISTRATORS, tenant)}

    async def end_roles(self, now: datetime, most: int) -> list[EndedRole]:
        return [EndedRole(row["tenant"], row["account_id"], row["role"]) for row in await self._connection.fetch(_END, now, most)]

    async def hold_defined_roles(self) -> list[DefinedRole]:
        await self._connection.execute(_LOCK_DEFINED)
        return [_defined_of(row) for row in await self._connection.fetch(_DEFINED) if row["name"] is not None]

    async def hold_roles(self, tenant: str, names: Sequence[str]) -> set[str]:
        sound = [name for name in names if "\0" not in name]
        return {row["name"] for row in await self._connection.fetch(_HOLD, tenant, sound)}

    async def put_defined_role(self, role: DefinedRole) -> None:
        values = (role.description, list(role.permissions), list(role.inherits), role.changed_at)
        await self._connection.execute(_PUT_DEFINED, role.tenant, role.name, *values)

    async def remove_defined_role(self, tenant: str, name: str) -> None:
        await self._connection.execute(_REMOVE_DEFINED, tenant, name)
        await self._connection.execute(_REMOVE_EVERYWHERE, tenant, name)
        await remove_grants_of_role(self._connection, tenant, name)

    async def change_access(self) -> None:
        """See the port. The row is touched last: everyone who changes roles would wait for it."""
        self._changes_access = True

    async def _raise_version(self) -> None:
        await self._connection.execute(_CHANGE_ACCESS)


class PostgresRoles:
    """The part of the store."""

    _database: DatabaseManager

    async def roles(self, subjects: Sequence[tuple[str, str]], now: datetime) -> tuple[int, RolesHeld]:
        known = [(tenant, key) for tenant, subject in subjects if (key := uuid_of(subject)) is not None and "\0" not in tenant]
        rows = await self._database.fetch(_ROLES, [tenant for tenant, _ in known], [key for _, key in known], now)
        held = {(row["tenant"], row["id"]): tuple(row["roles"]) for row in rows if row["id"] is not None}
        return rows[0]["version"], held

    async def defined_roles(self) -> tuple[int, list[DefinedRole]]:
        rows = await self._database.fetch(_DEFINED)
        return rows[0]["version"], [_defined_of(row) for row in rows if row["name"] is not None]

    async def held_roles(self, tenant: str, account_id: str) -> list[HeldRole]:
        key = uuid_of(account_id)
        return [] if key is None else [*map(_held_of, await self._database.fetch(_HELD, tenant, key))]

    async def next_role_end(self) -> datetime | None:
        end: datetime | None = await self._database.fetchval(_NEXT_END)
        return end


def _held_of(row: Any) -> HeldRole:
    return HeldRole(row["role"], row["expires_at"], row["assigned_at"], row["assigned_by"] or "")


def _defined_of(row: Any) -> DefinedRole:
    return DefinedRole(
        row["tenant"], row["name"], row["description"], tuple(row["permissions"]), tuple(row["inherits"]), row["changed_at"]
    )
