"""Projections in PostgreSQL, beside the state objects."""

from collections.abc import Collection, Mapping, Sequence

import asyncpg
from stylobate.database import Connection, DatabaseManager
from stylobate.strict_json import compact_numbers

from stylobate_state.model import StateKey, Write
from stylobate_state.projection.errors import ProjectionRebuiltError
from stylobate_state.projection.model import Applied, Outcome, Projection, View
from stylobate_state.projection.outcomes import all_written
from stylobate_state.store.postgres import PostgresStateStore, again
from stylobate_state.store.projections import Deletion

_ALL = "select name, generation, position, begun_at, is_rebuilding, error from state_projection order by name"
_OPEN = """
    with made as (insert into state_projection (name) values ($1) on conflict do nothing returning *)
    select name, generation, position, begun_at, is_rebuilding, error from (
        select * from made union all select * from state_projection where name = $1
    ) known
"""
# A row for the projection as well, without a key where nothing stands.
_READ = """
    select generation, key, version, data, owner
    from state_projection p left join lateral (
        select s.key, s.version, case when t.key is null then s.data::text end as data, s.owner
        from unnest($3::text[]) as asked (key) join state s on s.key = asked.key
            left join state_projection_stale t on t.projection = $1 and t.tenant = $2 and t.key = s.key
        where s.tenant = $2 and s.namespace = $1 and s.deleted_at is null
    ) found on true
    where p.name = $1
"""
# Held until the end of the transaction: the next generation begins before it, or after.
_HOLD = "select generation from state_projection where name = $1 for share"
_ADVANCE = """
    insert into state_projection_number as known (projection, tenant, partition, number)
    select $1, $2, partition, last from unnest($3::smallint[], $4::bigint[], $5::bigint[]) as e (partition, first, last)
    order by partition
    on conflict (projection, tenant, partition) do update set number = excluded.number
    where known.number < $4[array_position($3, known.partition)]
    returning partition
"""
_NUMBERS = "select partition, number from state_projection_number where projection = $1 and tenant = $2"
_PROGRESS = """
    select generation, partition, number
    from state_projection p left join state_projection_number n on n.projection = p.name and n.tenant = $2
    where p.name = $1
"""
# Before the objects are locked, as in a sweep.
_FRESH = "delete from state_projection_stale where projection = $1 and tenant = $2 and key = any($3::text[])"
_MOVE = """
    update state_projection set position = coalesce($3, position), error = $4 where name = $1 and generation = $2
    returning true
"""
_REBUILD = (
    """
    update state_projection
    set generation = generation + 1, position = '', error = '', is_rebuilding = true, begun_at = statement_timestamp()
    where name = $1
    returning name, generation, position, begun_at, is_rebuilding, error
    """,
    "delete from state_projection_number where projection = $1",
    """
    insert into state_projection_stale (projection, tenant, key)
    select $1, tenant, key from state where namespace = $1 and deleted_at is null
    on conflict do nothing
    """,
)
_SWEPT = """
    with chosen as (
        select tenant, key from state_projection_stale where projection = $1 order by tenant, key limit $2 for update
    ), gone as (
        delete from state_projection_stale s using chosen c where s.projection = $1 and s.tenant = c.tenant and s.key = c.key
    )
    select tenant, key from chosen
"""
_STANDING = """
    select tenant, key, version, owner from state
    join unnest($2::text[], $3::text[]) as asked (tenant, key) using (tenant, key)
    where namespace = $1 and deleted_at is null
"""
_REBUILT = "update state_projection set is_rebuilding = false where name = $1"


class _NotAppliedError(Exception):
    """Takes a transaction back."""


class PostgresProjectionStore:
    """A ProjectionStore in the service's schema."""

    def __init__(self, database: DatabaseManager, states: PostgresStateStore) -> None:
        self._database = database
        self._states = states

    async def open(self, name: str) -> Projection:
        row = None
        while row is None:  # another process made it at the same moment
            row = await self._database.fetchrow(_OPEN, name)
        return _projection(row)

    async def standings(self) -> Sequence[Projection]:
        return [_projection(row) for row in await self._database.fetch(_ALL)]

    async def read(self, name: str, generation: int, tenant: str, keys: Collection[str]) -> Mapping[str, View]:
        rows = await self._database.fetch(_READ, name, tenant, list(keys))
        if not rows or rows[0]["generation"] != generation:
            raise ProjectionRebuiltError(name)
        return {key: View(key, version, _data(data), owner) for _, key, version, data, owner in rows if key is not None}

    async def progress(self, name: str, generation: int, tenant: str) -> Mapping[int, int]:
        rows = await self._database.fetch(_PROGRESS, name, tenant)
        if not rows or rows[0]["generation"] != generation:
            raise ProjectionRebuiltError(name)
        return {row["partition"]: row["number"] for row in rows if row["partition"] is not None}

    async def apply(self, events: Applied, writes: Sequence[Write]) -> Outcome:
        try:
            await again(lambda: self._apply(events, writes))
        except _NotAppliedError:
            rows = await self._database.fetch(_NUMBERS, events.projection, events.tenant)
            numbers = {row["partition"]: row["number"] for row in rows}
            return Outcome({partition: numbers.get(partition, 0) for partition in events.ranges}, is_applied=False)
        return Outcome({partition: last for partition, (_, last) in events.ranges.items()}, is_applied=True)

    async def _apply(self, events: Applied, writes: Sequence[Write]) -> None:
        asked = [list(column) for column in zip(*((one, *ends) for one, ends in events.ranges.items()), strict=True)]
        async with self._database.transaction() as connection:
            await self._hold(connection, events.projection, events.generation)
            if len(await connection.fetch(_ADVANCE, events.projection, events.tenant, *asked)) < len(events.ranges):
                raise _NotAppliedError
            if writes:
                await connection.execute(_FRESH, events.projection, events.tenant, [write.key.key for write in writes])
                outcomes = await self._states.write_in(connection, writes)
                if not all_written(outcomes):
                    raise _NotAppliedError

    async def move(self, name: str, generation: int, position: str | None, error: str) -> None:
        if await self._database.fetchval(_MOVE, name, generation, position, error) is None:
            raise ProjectionRebuiltError(name)

    async def rebuild(self, name: str) -> Projection | None:
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_REBUILD[0], name)
            if row is None:
                return None
            for statement in _REBUILD[1:]:
                await connection.execute(statement, name)
        return _projection(row)

    async def sweep(self, name: str, generation: int, most: int, deletion: Deletion) -> int:
        return await again(lambda: self._sweep(name, generation, most, deletion))

    async def _sweep(self, name: str, generation: int, most: int, deletion: Deletion) -> int:
        async with self._database.transaction() as connection:
            await self._hold(connection, name, generation)
            chosen = await connection.fetch(_SWEPT, name, most)
            if not chosen:
                await connection.execute(_REBUILT, name)
                return 0
            standing = await connection.fetch(_STANDING, name, [row["tenant"] for row in chosen], [row["key"] for row in chosen])
            writes = [
                deletion(StateKey(row["tenant"], name, row["key"]), owner=row["owner"], version=row["version"])
                for row in standing
            ]
            if writes:
                await self._states.write_in(connection, writes)
        return len(chosen)

    async def _hold(self, connection: Connection, name: str, generation: int) -> None:
        if await connection.fetchval(_HOLD, name) != generation:
            raise ProjectionRebuiltError(name)


def _projection(row: asyncpg.Record) -> Projection:
    return Projection(**dict(row))


def _data(text: str | None) -> bytes | None:
    return None if text is None else compact_numbers(text.encode())
