"""Carrying a namespace from one PostgreSQL to another: rows as they are, through temporary tables there."""

from collections.abc import Sequence
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from stylobate.database import Connection, DatabaseManager

from stylobate_state.index import Index
from stylobate_state.model import StateKey
from stylobate_state.store.moving import Carried
from stylobate_state.store.postgres import PostgresStateStore
from stylobate_state.store.postgres_places import PostgresPlaceStore

_IN_MEMORY = 8 * 1024 * 1024
"""What of a step's rows is held in memory; more goes through a file."""
_ENTERED_AT_ONCE = 500
_STEP_S = 50.0
_PATIENCE = "set local statement_timeout = '50s'; set local idle_in_transaction_session_timeout = '50s'"
"""An object may have a long history, and goes whole."""
_NEXT_TENANT = "select min(tenant) from state where tenant > $1"
_KEYS = "select key from state where tenant = $1 and namespace = $2 and key > $3 order by key limit $4"
_STATES = "select * from state where tenant = $1 and namespace = $2 and key = any ($3)"
_EVENTS = "select * from outbox_event where tenant = $1 and stream = $2 and subject = any ($3)"
_PUT_STATES = """
    insert into state select * from carried_state order by tenant, namespace, key
    on conflict (tenant, namespace, key) do nothing
"""
# What was there already was carried with its events by a step before.
_KNOWN = "delete from carried_state c using state s where (s.tenant, s.namespace, s.key) = (c.tenant, c.namespace, c.key)"
_LOCK = "select partition from outbox_head order by partition for update"
# In the order of the log where they come from; what had no number yet comes last, in the order of versions.
_PUT_EVENTS = """
    with put as (
        insert into outbox_event (
            id, tenant, partition, stream, subject, version, type, source, time, actor, depth, data, traceparent, aside, number
        )
        select e.id, e.tenant, e.partition, e.stream, e.subject, e.version, e.type, e.source, e.time, e.actor, e.depth, e.data,
            e.traceparent, e.aside, h.number + row_number() over (partition by e.partition order by e.number nulls last, e.seq)
        from carried_event e join outbox_head h using (partition)
        where exists (select from carried_state c where c.tenant = e.tenant and c.key = e.subject)
        order by e.partition, e.number nulls last, e.seq
        returning partition, number
    ),
    moved as (
        update outbox_head h set number = put.last
        from (select partition, max(number) as last from put group by partition) put where h.partition = put.partition
    )
    select count(*) from put
"""
_PUT_TIMERS = """
    insert into state_timer (tenant, namespace, key, since, event, due_at)
    select c.tenant, c.namespace, c.key, timer.since, timer.event, timer.at
    from carried_state c cross join jsonb_to_recordset(c.timers) as timer (event text, at timestamptz, since bigint)
    where timer.at is not null
    on conflict do nothing
"""
_END_TIMERS = "delete from state_timer where tenant = $1 and namespace = $2 and key = any ($3)"
# Beside the objects: where a projection stands, and what was answered to calls with an idempotency key.
_WITH_IT = {
    "state_projection": "select * from state_projection where name = $1",
    "state_projection_number": "select * from state_projection_number where projection = $1",
    "state_projection_stale": "select * from state_projection_stale where projection = $1",
    "idempotency": "select * from idempotency where $1::text <> ''",
}


class PostgresCarrier:
    """A Carrier between two databases.

    :param name: of the other database.
    """

    def __init__(self, here: DatabaseManager, there: DatabaseManager, states: PostgresStateStore, source: str, name: str) -> None:
        self._here = here
        self._there = there
        self._states = states
        self._places_here, self._places_there = PostgresPlaceStore(here, source), PostgresPlaceStore(there, source)
        self._name = name

    async def begin(self, namespace: str) -> None:
        await self._places_here.give(namespace, self._name, with_objects=True, is_moving=True)

    async def carry(self, namespace: str, after: StateKey | None, most: int) -> Carried:
        if after is None:
            tenant, key = await self._here.fetchval(_NEXT_TENANT, ""), ""
        else:
            tenant, key = after.tenant, after.key
        while tenant is not None:
            rows = await self._here.fetch(_KEYS, tenant, namespace, key, most)
            if keys := [row["key"] for row in rows]:
                objects, versions = await self._carry(tenant, namespace, keys)
                return Carried(objects, versions, StateKey(tenant, namespace, keys[-1]))
            tenant, key = await self._here.fetchval(_NEXT_TENANT, tenant), ""
        return Carried(0, 0, None)

    async def _carry(self, tenant: str, namespace: str, keys: Sequence[str]) -> tuple[int, int]:
        async with self._there.transaction() as there:
            await there.execute(_PATIENCE)
            await self._copy(there, "state", "carried_state", _STATES, tenant, namespace, keys)
            await there.execute(_KNOWN)
            await self._copy(there, "outbox_event", "carried_event", _EVENTS, tenant, namespace, keys)
            objects = int((await there.execute(_PUT_STATES)).rpartition(" ")[2])
            await there.execute(_LOCK)
            versions: int = await there.fetchval(_PUT_EVENTS, timeout=_STEP_S)
            await there.execute(_PUT_TIMERS)
        await self._here.execute(_END_TIMERS, tenant, namespace, keys)
        return objects, versions

    async def enter(self, indexes: Sequence[Index]) -> bool:
        await self._states.declare(indexes)
        return await self._states.build(_ENTERED_AT_ONCE)

    async def finish(self, namespace: str) -> None:
        async with self._there.transaction() as there:
            await there.execute(_PATIENCE)
            for table, query in _WITH_IT.items():
                await self._copy(there, table, f"carried_{table}", query, namespace)
                await there.execute(f"insert into {table} select * from carried_{table} on conflict do nothing")  # noqa: S608  ours
        await self._places_there.take(namespace)
        await self._places_here.give(namespace, self._name, with_objects=True)

    async def _copy(self, there: Connection, table: str, to: str, query: str, *args: object) -> None:
        """Put what a query finds here into a temporary table there, of the form of a table."""
        await there.execute(f"create temporary table {to} (like {table}) on commit drop")
        with SpooledTemporaryFile(max_size=_IN_MEMORY) as spooled:
            file = cast("BinaryIO", spooled)
            async with self._here.transaction() as here:
                await here.execute(_PATIENCE)
                await here.copy_from_query(query, *args, output=file, format="binary", timeout=_STEP_S)
            file.seek(0)
            await there.copy_to_table(to, source=file, format="binary", timeout=_STEP_S)
