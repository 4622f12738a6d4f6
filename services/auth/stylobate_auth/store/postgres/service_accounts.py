"""Service accounts in PostgreSQL: what the store and its transactions do with them."""

from uuid import UUID

from stylobate.database import Connection, DatabaseManager

from stylobate_auth.service_account import ServiceAccount
from stylobate_auth.store.postgres.grants import remove_grants_of
from stylobate_auth.uuids import uuid_of

_ADD = """
insert into account (tenant, id, email, email_key, display_name, password_hash, created_at, is_service)
values ($1, $2, '', $2::uuid::text, $3, '', $4, true)
"""
_ADD_ROLES = "insert into account_role (tenant, account_id, role) select $1, $2, role from unnest($3::text[]) as r (role)"
_KEYS = "select id::text from api_key where tenant = $1 and owner_id = $2 order by id for update"
_LOCK = "select true from account where tenant = $1 and id = $2 and is_service for update"
_REMOVE = "delete from account where tenant = $1 and id = $2"
_LIST = """
select a.tenant, a.id::text, a.display_name, a.created_at,
       array(select r.role from account_role r where r.tenant = a.tenant and r.account_id = a.id order by r.role) as roles
from account a
where a.tenant = $1 and a.is_service and ($2::uuid is null or a.id > $2)
order by a.id limit $3
"""


class PostgresServiceAccountChanges:
    """The part of a transaction."""

    _connection: Connection

    async def add_service_account(self, account: ServiceAccount) -> None:
        key = UUID(account.id)
        await self._connection.execute(_ADD, account.tenant, key, account.name, account.created_at)
        await self._connection.execute(_ADD_ROLES, account.tenant, key, list(account.roles))

    async def remove_service_account(self, tenant: str, account_id: str) -> list[str] | None:
        key = uuid_of(account_id)
        if key is None or await self._connection.fetchval(_LOCK, tenant, key) is None:
            return None
        keys = [row["id"] for row in await self._connection.fetch(_KEYS, tenant, key)]
        await self._connection.execute(_REMOVE, tenant, key)
        await remove_grants_of(self._connection, tenant, account_id)
        return keys


class PostgresServiceAccounts:
    """The part of the store."""

    _database: DatabaseManager

    async def service_accounts(self, tenant: str, after: str, limit: int) -> list[ServiceAccount]:
        return [
            ServiceAccount(row["tenant"], row["id"], row["display_name"], tuple(row["roles"]), row["created_at"])
            for row in await self._database.fetch(_LIST, tenant, uuid_of(after), limit)
        ]
