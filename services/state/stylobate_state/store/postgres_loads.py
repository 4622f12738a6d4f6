"""One database's part in a move, in PostgreSQL."""

import json
from collections.abc import Sequence
from typing import Any

from stylobate.database import Connection, DatabaseManager
from stylobate.database.batches import columns
from stylobate.outbox import Event
from stylobate.strict_json import compact_numbers

from stylobate_state.errors import StateMovedError
from stylobate_state.model import StateKey, StateRecord
from stylobate_state.store.moving import Arrival, KeptAnswer, MovedProjection, Told, ViewNumber
from stylobate_state.store.postgres_indexes import ALONE
from stylobate_state.store.postgres_places import CARRYING, fenced

_BYTES = 8 * 1024 * 1024
"""About how much the events of one step have of data."""
_PATIENCE = "set local statement_timeout = '50s'; set local idle_in_transaction_session_timeout = '50s'"
_NEXT_TENANT = "select min(tenant) from state where tenant > $1"
_KEYS = "select key from state where tenant = $1 and namespace = $2 and key > $3 order by key limit $4"
_TOLD = """
    select subject, version, id::text, source, type, time, actor, depth, traceparent, data::text as data, aside::text as aside
    from (
        select *, sum(octet_length(data::text)) over (order by subject, version rows unbounded preceding)
            - octet_length(data::text) as used
        from (
            select * from outbox_event
            where tenant = $1 and stream = $2 and subject = any ($3) and (subject, version) > ($4, $5)
            order by subject, version limit $6
        ) t
    ) bounded where used <= $7 order by subject, version
"""
_HOLD = "select move from state_place where namespace = $1 and elsewhere is not null and not is_moving for share"
_HOLD_ALONE = _HOLD.replace("share", "update")
_LOCK = "select partition from outbox_head order by partition for update"
_PUT_TOLD = """
    with given as materialized (
        select * from unnest(
            $3::text[], $4::bigint[], $5::uuid[], $6::text[], $7::text[], $8::timestamptz[], $9::text[], $10::smallint[],
            $11::text[], $12::jsonb[], $13::jsonb[], $14::smallint[]
        ) with ordinality as g (
            subject, version, id, source, type, time, actor, depth, traceparent, data, aside, partition, place
        )
    ),
    known as (
        update outbox_event e
        set data = g.data, actor = g.actor, aside = g.aside, traceparent = g.traceparent
        from given g
        where (e.tenant, e.stream, e.subject, e.version) = ($1, $2, g.subject, g.version)
            and (e.data, e.actor, e.aside, e.traceparent) is distinct from (g.data, g.actor, g.aside, g.traceparent)
    ),
    put as (
        insert into outbox_event (
            id, tenant, partition, stream, subject, version, type, source, time, actor, depth, data, traceparent, aside, number,
            is_carried
        )
        select g.id, $1, g.partition, $2, g.subject, g.version, g.type, g.source, g.time, g.actor, g.depth, g.data, g.traceparent,
            g.aside, h.number + row_number() over (partition by g.partition order by g.place), true
        from given g join outbox_head h using (partition)
        where not exists (
            select from outbox_event e where (e.tenant, e.stream, e.subject, e.version) = ($1, $2, g.subject, g.version)
        )
        order by g.place
        returning partition, number
    ),
    moved as (
        update outbox_head h set number = put.last
        from (select partition, max(number) as last from put group by partition) put where h.partition = put.partition
    )
    select count(*) from put
"""
_VERSIONS = "select key, version from state where tenant = $1 and namespace = $2 and key = any ($3)"
_PUT = """
    insert into state (
        tenant, namespace, key, version, status, data, owner, first_version, created_at, updated_at, deleted_at, timers,
        schema_version
    )
    select $1, $2, key, version, status, data, owner, first_version, created_at, updated_at,
        case when is_deleted then updated_at end, timers, schema_version
    from unnest(
        $3::text[], $4::bigint[], $5::text[], $6::jsonb[], $7::text[], $8::bigint[], $9::timestamptz[], $10::timestamptz[],
        $11::boolean[], $12::jsonb[], $13::int[]
    ) as g (
        key, version, status, data, owner, first_version, created_at, updated_at, is_deleted, timers, schema_version
    )
    order by key
    on conflict (tenant, namespace, key) do update set
        version = excluded.version, status = excluded.status, data = excluded.data, owner = excluded.owner,
        first_version = excluded.first_version, created_at = excluded.created_at, updated_at = excluded.updated_at,
        deleted_at = excluded.deleted_at, timers = excluded.timers, schema_version = excluded.schema_version
"""
_QUEUE = """
    insert into state_timer (tenant, namespace, key, since, event, due_at)
    select $1, $2, * from unnest($3::text[], $4::bigint[], $5::text[], $6::timestamptz[])
    on conflict do nothing
"""
_END_TIMERS = "delete from state_timer where tenant = $1 and namespace = $2 and key = any ($3)"
_IS_WAITED_FOR = "select exists (select from outbox_event where number is null and stream = $1)"
_CLEAR_ENTRIES = """
    delete from state_entry where (index_id, tenant, key) in (
        select index_id, tenant, key from state_entry
        where index_id in (select id from state_index where namespace = $1) limit $2
    )
"""
# By the primary key, a step for each tenant: a namespace has no index of its own.
_CLEAR_OBJECTS = """
    with recursive tenants as (
        select min(tenant) as tenant from state
        union all
        select (select min(s.tenant) from state s where s.tenant > t.tenant) from tenants t where t.tenant is not null
    ),
    chosen as materialized (
        select t.tenant, s.key from tenants t cross join lateral (
            select key from state where tenant = t.tenant and namespace = $1 limit $2
        ) s
        where t.tenant is not null limit $2
    ),
    queued as (
        delete from state_timer t using chosen c where t.tenant = c.tenant and t.namespace = $1 and t.key = c.key
    )
    delete from state s using chosen c where s.tenant = c.tenant and s.namespace = $1 and s.key = c.key
"""
_CLEAR_INDEXES = "delete from state_index where namespace = $1"
_ROOM = "update state_place set move = $2 where namespace = $1"
_NEXT_TOLD = "select tenant from outbox_event where tenant > $1 order by tenant limit 1"
_FORGET = """
    with part as materialized (
        select seq, subject, version from outbox_event
        where tenant = $1 and stream = $2 and (subject, version) > ($3, $4) order by subject, version limit $5
    ),
    gone as (
        update outbox_event e set aside = null, traceparent = '', actor = '',
            data = state_without(
                state_without(state_without(state_forget(e.data), e.data ->> 'actor'), e.data ->> 'owner'),
                e.data ->> 'previous_owner'
            )
        from part where e.seq = part.seq
    )
    select subject, version from part order by subject desc, version desc limit 1
"""
_PROJECTION = "select generation, position, begun_at, is_rebuilding, error from state_projection where name = $1"
_NUMBERS = "select tenant, partition, number from state_projection_number where projection = $1 order by tenant, partition"
_NO_PROJECTION = (
    "delete from state_projection_stale where projection = $1",
    "delete from state_projection_number where projection = $1",
    "delete from state_projection where name = $1",
)
_PUT_PROJECTION = """
    insert into state_projection (name, generation, position, begun_at, is_rebuilding, error) values ($1, $2, $3, $4, $5, $6)
"""
_PUT_NUMBERS = """
    insert into state_projection_number (projection, tenant, partition, number)
    select $1, * from unnest($2::text[], $3::smallint[], $4::bigint[])
"""
_ANSWERS = """
    select tenant, caller, method, key, request, answer, expires_at from idempotency
    where (tenant, caller, method, key) > ($1, $2, $3, $4) order by tenant, caller, method, key limit $5
"""
_PUT_ANSWERS = """
    insert into idempotency (tenant, caller, method, key, request, answer, expires_at)
    select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bytea[], $7::timestamptz[])
    on conflict (tenant, caller, method, key) do update
    set request = excluded.request, answer = excluded.answer, expires_at = excluded.expires_at
    where idempotency.expires_at < excluded.expires_at
"""


class PostgresLoadStore:
    """A LoadStore in the service's schema."""

    def __init__(self, database: DatabaseManager) -> None:
        self._database = database

    async def keys(self, namespace: str, after: StateKey | None, most: int) -> Sequence[StateKey]:
        if after is None:
            tenant, key = await self._database.fetchval(_NEXT_TENANT, ""), ""
        else:
            tenant, key = after.tenant, after.key
        while tenant is not None:
            if rows := await self._database.fetch(_KEYS, tenant, namespace, key, most):
                return [StateKey(tenant, namespace, row["key"]) for row in rows]
            tenant, key = await self._database.fetchval(_NEXT_TENANT, tenant), ""
        return ()

    async def told(self, keys: Sequence[StateKey], after: tuple[str, int], most: int) -> Sequence[Told]:
        tenant, namespace, _ = keys[0]
        rows = await self._database.fetch(_TOLD, tenant, namespace, [key.key for key in keys], *after, most, _BYTES)
        return [_told(row, tenant) for row in rows]

    async def put_told(self, arrival: Arrival, told: Sequence[Told]) -> int:
        rows = columns(map(_row, told))
        async with self._database.transaction() as connection:
            await self._hold(connection, arrival)
            await connection.execute(_LOCK)
            count: int = await connection.fetchval(_PUT_TOLD, told[0].event.tenant, arrival.namespace, *rows)
        return count

    async def versions(self, keys: Sequence[StateKey]) -> dict[StateKey, int]:
        tenant, namespace, _ = keys[0]
        rows = await self._database.fetch(_VERSIONS, tenant, namespace, [key.key for key in keys])
        return {StateKey(tenant, namespace, row["key"]): row["version"] for row in rows}

    async def put(self, arrival: Arrival, objects: Sequence[StateRecord], generation: int) -> None:
        """See LoadStore; of which generation an object is stands beside it here."""
        del generation
        tenant, namespace, _ = objects[0].key
        rows = [
            (
                *(one.key.key, one.version, one.status, one.data.decode(), one.owner, one.first_version, one.created_at),
                *(one.updated_at, one.is_deleted, _timers(one), one.schema_version),
            )
            for one in objects
        ]
        with fenced():
            async with self._database.transaction() as connection:
                await self._hold(connection, arrival)
                await connection.execute(CARRYING, namespace)
                await connection.execute(_PUT, tenant, namespace, *columns(rows))
                await self._queue(connection, objects)

    async def begin_timers(self, objects: Sequence[StateRecord]) -> None:
        async with self._database.transaction() as connection:
            await self._queue(connection, objects)

    async def end_timers(self, keys: Sequence[StateKey]) -> None:
        tenant, namespace, _ = keys[0]
        await self._database.execute(_END_TIMERS, tenant, namespace, [key.key for key in keys])

    async def clear(self, arrival: Arrival, most: int) -> bool:
        namespace, move = arrival.namespace, arrival.move
        async with self._database.transaction() as connection:
            await connection.execute(_PATIENCE)
            known: str | None = await connection.fetchval(_HOLD_ALONE, namespace)
            if known is None or (known and not move):
                raise StateMovedError(namespace)
            if known == move != "":
                return False
            if await connection.fetchval(_IS_WAITED_FOR, namespace):
                return True
            for statement in (_CLEAR_ENTRIES, _CLEAR_OBJECTS):
                if not (await connection.execute(statement, namespace, most)).endswith(" 0"):
                    return True
            await connection.execute(ALONE)
            await connection.execute(_CLEAR_INDEXES, namespace)
            await connection.execute(_ROOM, namespace, move)
        return False

    async def forget(self, namespace: str, after: tuple[str, str, int], most: int) -> tuple[str, str, int] | None:
        tenant: str | None
        tenant, subject, version = after
        while tenant is not None:
            row = await self._database.fetchrow(_FORGET, tenant, namespace, subject, version, most) if tenant else None
            if row is not None:
                return tenant, row["subject"], row["version"]
            tenant, subject, version = await self._database.fetchval(_NEXT_TOLD, tenant), "", 0
        return None

    async def projection(self, name: str) -> MovedProjection | None:
        row = await self._database.fetchrow(_PROJECTION, name)
        if row is None:
            return None
        generation, position, begun_at, is_rebuilding, error = row
        numbers = [ViewNumber(*one) for one in await self._database.fetch(_NUMBERS, name)]
        return MovedProjection(generation, position, begun_at, is_rebuilding, error, numbers)

    async def put_projection(self, name: str, moved: MovedProjection | None) -> None:
        async with self._database.transaction() as connection:
            for statement in _NO_PROJECTION:
                await connection.execute(statement, name)
            if moved is not None:
                values = moved.generation, moved.position, moved.begun_at, moved.is_rebuilding, moved.error
                await connection.execute(_PUT_PROJECTION, name, *values)
                if moved.numbers:
                    await connection.execute(_PUT_NUMBERS, name, *columns(moved.numbers))

    async def answers(self, after: tuple[str, str, str, str], most: int) -> Sequence[KeptAnswer]:
        return [KeptAnswer(*row) for row in await self._database.fetch(_ANSWERS, *after, most)]

    async def put_answers(self, answers: Sequence[KeptAnswer]) -> None:
        await self._database.execute(_PUT_ANSWERS, *columns(answers))

    async def _hold(self, connection: Connection, arrival: Arrival) -> None:
        """See to it that room was made for this move, and stays made until the transaction ends."""
        if await connection.fetchval(_HOLD, arrival.namespace) != arrival.move:
            raise StateMovedError(arrival.namespace)

    async def _queue(self, connection: Connection, objects: Sequence[StateRecord]) -> None:
        tenant, namespace, _ = objects[0].key
        waits = [
            (one.key.key, timer.since, timer.event, timer.at) for one in objects for timer in one.timers if timer.at is not None
        ]
        if waits:
            await connection.execute(_QUEUE, tenant, namespace, *columns(waits))


def _told(row: Any, tenant: str) -> Told:
    subject, version, id_, source, type_, time, actor, depth, traceparent, data, aside = row
    beside = b"" if aside is None else compact_numbers(aside.encode())
    event = Event(id_, source, type_, subject, time, tenant, compact_numbers(data.encode()), actor, depth, traceparent, beside)
    return Told(version, event)


def _row(told: Told) -> tuple[object, ...]:
    """Return an event as its row is put, but for the tenant and the namespace."""
    version, event = told
    about = event.subject, version, event.id, event.source, event.type, event.time, event.actor, event.depth, event.traceparent
    return *about, event.data.decode(), event.aside.decode() or None, event.partition


def _timers(state: StateRecord) -> str | None:
    """Return the timers of an object as its row has them."""
    if not state.timers:
        return None
    waits = [(timer.event, None if timer.at is None else timer.at.isoformat(), timer.since) for timer in state.timers]
    return json.dumps([{"event": event, "at": at, "since": since} for event, at, since in waits])
