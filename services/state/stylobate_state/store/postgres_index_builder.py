"""Building an index over a namespace that is full already, beside the writes, some objects at a time.

Objects are entered in the order of tenants and keys. How far it has come is kept in the transaction that enters them, so that
the next builder, after a kill too, goes on there. An object is locked while it is entered: a writer comes before, and has entered
it itself, or after. When all are in and no two objects of a unique index are equal, it is ready.
"""

from collections.abc import Sequence
from datetime import timedelta

import asyncpg
from stylobate.database import Connection, DatabaseManager
from stylobate.database.batches import columns
from stylobate.logs import get_logger

from stylobate_state.index import Index, Trait, problem
from stylobate_state.store.postgres_indexes import ALONE

UNHEARD = timedelta(minutes=1)
"""An index that nobody has declared for so long is removed: processes of another release may declare it still."""
_NEXT = """
select id, namespace, definition, problem from state_index where not is_ready and not is_dropped order by problem <> '', id
"""
# The lock on the row of the index keeps a second builder out, whatever became of its lease.
_PLACE = "select place from state_index where id = $1 and not is_ready and not is_dropped for update"
_OBJECTS = """
select tenant, key, data::text as data, status, owner, created_at, updated_at, deleted_at is not null as is_deleted
from state where tenant = $1 and namespace = $2 and key > $3
order by key limit $4
for update
"""
_NEXT_TENANT = "select tenant from state where tenant > $1 order by tenant limit 1"
_ENTER = """
with asked as (
    select *, row_number() over (partition by tenant, sort, claims order by key) as turn
    from unnest($2::text[], $3::text[], $4::bytea[], $5::text[], $6::boolean[], $7::boolean[])
        as t (tenant, key, sort, owner, claims, is_long)
)
insert into state_entry (index_id, tenant, key, sort, owner, hold)
select $1, a.tenant, a.key, a.sort, a.owner, case
    when a.is_long then 3
    when not a.claims then 0
    when a.turn > 1 or exists (
        select from state_entry e
        where e.index_id = $1 and e.tenant = a.tenant and e.sort = a.sort and e.hold = 1 and e.key <> a.key
    ) then 2
    else 1
end
from asked a order by a.tenant, a.sort
on conflict (index_id, tenant, key) do nothing
"""
_GONE_ON = "update state_index set place = $2, entered = entered + $3 where id = $1"
# Duplicates whose rival has gone: each takes the values, the first of several.
_RELEASE = """
update state_entry d set hold = 1
from (
    select distinct on (tenant, sort) tenant, key, sort from state_entry
    where index_id = $1 and hold = 2 order by tenant, sort, key
) first
where d.index_id = $1 and d.tenant = first.tenant and d.key = first.key and d.hold = 2 and not exists (
    select from state_entry e where e.index_id = $1 and e.tenant = first.tenant and e.sort = first.sort and e.hold = 1
)
"""
_AMISS = """
select d.key, e.key as holder, d.hold from state_entry d
left join state_entry e on d.hold = 2 and e.index_id = $1 and e.tenant = d.tenant and e.sort = d.sort and e.hold = 1
where d.index_id = $1 and d.hold > 1 order by d.tenant, d.key limit 1
"""
_READY = "update state_index set is_ready = true, problem = '' where id = $1"
_PROBLEM = "update state_index set problem = $2 where id = $1"
_UNHEARD = "select id from state_index where not is_dropped and declared_at < now() - $1::interval"
# Its name is free then, should somebody declare it again.
_DROP = """
update state_index set is_dropped = true, definition = definition || ' dropped ' || id
where id = $1 and not is_dropped and declared_at < now() - $2::interval
returning namespace, definition
"""
_DROPPED = "select id from state_index where is_dropped"
_EMPTY = """
delete from state_entry
where index_id = $1 and (tenant, key) in (select tenant, key from state_entry where index_id = $1 limit $2)
"""
_REMOVE = "delete from state_index where id = $1"
_log = get_logger("app")


class PostgresIndexBuilder:
    """Builds what is not ready, and removes what nobody declares."""

    def __init__(self, database: DatabaseManager) -> None:
        self._database = database

    async def build(self, most: int) -> bool:
        """See StateStore."""
        has_more = await self._remove(most)
        for row in await self._database.fetch(_NEXT):
            index = Index.defined(row["namespace"], row["definition"])
            if index is None:
                continue  # of a release that knows other bytes
            try:
                if await self._enter(row["id"], index, most):
                    return True
            except asyncpg.UniqueViolationError:
                return True  # a writer was faster with a value; nothing of these was entered
            await self._finish(row["id"], index, row["problem"])
        return has_more

    async def _enter(self, id_: int, index: Index, most: int) -> bool:
        """Enter some objects; return whether there are others behind them."""
        async with self._database.transaction() as connection:
            standing = await connection.fetchrow(_PLACE, id_)
            if standing is None:
                return False
            tenant, key = standing["place"] or ("", "")
            objects = await connection.fetch(_OBJECTS, tenant, index.namespace, key, most)
            if objects:
                await self._insert(connection, id_, index, objects)
                key = objects[-1]["key"]
            else:
                tenant, key = await connection.fetchval(_NEXT_TENANT, tenant), ""
            if tenant is not None:
                await connection.execute(_GONE_ON, id_, [tenant, key], len(objects))
        return tenant is not None

    async def _insert(self, connection: Connection, id_: int, index: Index, objects: Sequence[asyncpg.Record]) -> None:
        rows = []
        for found in objects:
            trait, parts = index.parts(found["data"].encode(), found["owner"])
            sort = index.sort(parts, found["status"], found["created_at"], found["updated_at"])
            if sort is not None and not found["is_deleted"]:
                owner = found["owner"] if index.by_owner else None
                claims, is_long = index.is_unique and trait is Trait.WHOLE, trait is Trait.TOO_LONG
                rows.append((found["tenant"], found["key"], sort, owner, claims, is_long))
        if rows:
            await connection.execute(_ENTER, id_, *columns(rows))

    async def _finish(self, id_: int, index: Index, known: str) -> None:
        """Make it ready, or say why it cannot be."""
        await self._database.execute(_RELEASE, id_)
        said = await self._problem(self._database, id_, index)
        if not said:
            async with self._database.transaction() as connection:
                await connection.execute(ALONE)  # no duplicate comes in behind the look
                said = await self._problem(connection, id_, index)
                if not said:
                    await connection.execute(_READY, id_)
                    _log.info("index_ready", namespace=index.namespace, index=str(index))
        if said and said != known:
            await self._database.execute(_PROBLEM, id_, said)
            _log.error("index_not_ready", namespace=index.namespace, index=str(index), problem=said)

    async def _problem(self, database: DatabaseManager | Connection, id_: int, index: Index) -> str:
        amiss = await database.fetchrow(_AMISS, id_)
        return "" if amiss is None else problem(index, amiss["key"], amiss["holder"])

    async def _remove(self, most: int) -> bool:
        """Remove entries of indexes that nobody declares; return whether there are more."""
        for row in await self._database.fetch(_UNHEARD, UNHEARD):
            async with self._database.transaction() as connection:
                await connection.execute(ALONE)  # no write enters anything into it from then on
                dropped = await connection.fetchrow(_DROP, row["id"], UNHEARD)
            if dropped is not None:
                _log.info("index_dropped", namespace=dropped["namespace"], definition=dropped["definition"])
        has_more = False
        for row in await self._database.fetch(_DROPPED):
            if (await self._database.execute(_EMPTY, row["id"], most)).endswith(" 0"):
                await self._database.execute(_REMOVE, row["id"])
            else:
                has_more = True
        return has_more
