"""The first administrator's invitation in PostgreSQL: what the store and its transactions do with it."""

from datetime import datetime

from stylobate.database import Connection, DatabaseManager

_PUT = """
insert into first_admin_invitation (tenant, token_hash, expires_at) values ($1, $2, $3)
on conflict (tenant) do update set token_hash = excluded.token_hash, expires_at = excluded.expires_at
"""
_TAKE = "delete from first_admin_invitation where tenant = $1 and token_hash = $2 and expires_at > $3 returning true"
_HAS = "select true from first_admin_invitation where tenant = $1 and token_hash = $2 and expires_at > $3"
PRUNE_INVITATIONS = """
delete from first_admin_invitation where tenant in (
    select tenant from first_admin_invitation where expires_at <= $1 order by tenant limit $2 for update skip locked
)
"""


class PostgresFirstAdminChanges:
    """The part of a transaction."""

    _connection: Connection

    async def put_invitation(self, tenant: str, token_hash: bytes, expires_at: datetime) -> None:
        await self._connection.execute(_PUT, tenant, token_hash, expires_at)

    async def take_invitation(self, tenant: str, token_hash: bytes, now: datetime) -> bool:
        return await self._connection.fetchval(_TAKE, tenant, token_hash, now) is not None


class PostgresFirstAdmins:
    """The part of the store."""

    _database: DatabaseManager

    async def has_invitation(self, tenant: str, token_hash: bytes, now: datetime) -> bool:
        return await self._database.fetchval(_HAS, tenant, token_hash, now) is not None
