"""Failed logins in PostgreSQL: what the store and its transactions do with them."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from stylobate.database import Connection, DatabaseManager

from stylobate_auth.failed_login import FailedLogins

# In the order of accounts: two processes that write the same rows in another order would wait for each other.
_ADD = """
insert into failed_login (tenant, account_id, count, first_at, last_at, tell_at)
select u.tenant, u.id, u.count, u.first_at, u.last_at, $6
from unnest($1::text[], $2::uuid[], $3::integer[], $4::timestamptz[], $5::timestamptz[])
    as u (tenant, id, count, first_at, last_at)
order by u.tenant, u.id
on conflict (tenant, account_id) do update set
    count = failed_login.count + excluded.count,
    first_at = least(failed_login.first_at, excluded.first_at),
    last_at = greatest(failed_login.last_at, excluded.last_at)
"""
_TAKE = """
with taken as (
    delete from failed_login where (tenant, account_id) in (
        select tenant, account_id from failed_login where tell_at <= $1 order by tell_at limit $2 for update skip locked
    )
    returning *
)
select t.tenant, t.account_id::text, t.count, t.first_at, t.last_at
from taken t join account a on a.tenant = t.tenant and a.id = t.account_id
order by t.tell_at, t.account_id
"""


class PostgresFailedLoginChanges:
    """The part of a transaction."""

    _connection: Connection

    async def take_failed_logins(self, now: datetime, most: int) -> list[FailedLogins]:
        return [FailedLogins(*row) for row in await self._connection.fetch(_TAKE, now, most)]


class PostgresFailedLoginCounts:
    """The part of the store."""

    _database: DatabaseManager

    async def add_failed_logins(self, failed: Sequence[FailedLogins], tell_at: datetime) -> None:
        if failed:
            rows = [(one.tenant, UUID(one.account_id), one.count, one.first_at, one.last_at) for one in failed]
            await self._database.execute(_ADD, *map(list, zip(*rows, strict=True)), tell_at)
