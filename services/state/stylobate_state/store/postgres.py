"""State objects in PostgreSQL: one row each, their history in the outbox, a batch of writes in one statement."""

from collections.abc import Sequence
from importlib.resources import files

import asyncpg
from stylobate.database import Connection, DatabaseManager
from stylobate.database.batches import columns
from stylobate.errors import ValueRefusedError
from stylobate.health import Health
from stylobate.idempotency import IdempotencyLedger
from stylobate.outbox import partition_of
from stylobate.strict_json import compact_numbers

from stylobate_state.errors import StateDataInvalidError
from stylobate_state.model import (
    Change,
    HistoryEntry,
    HistoryQuery,
    ListQuery,
    Refused,
    StateKey,
    StateRecord,
    Taken,
    Write,
    WriteOutcome,
    Written,
)
from stylobate_state.store.part import Part, gather

_READ = """
    select tenant, namespace, key, version, status, data::text as data, owner, created_at, updated_at, first_version,
        deleted_at is not null as is_deleted
    from state join unnest($1::text[], $2::text[], $3::text[]) as asked (tenant, namespace, key) using (tenant, namespace, key)
"""
# The rest bound what they return: each row comes with the size of its data, and none before which the bytes of the bound are
# used up. The text of a row is made once, in the inner query.
_LIST = """
    select * from (
        select t.*, octet_length(data) as size,
            sum(octet_length(data)) over (order by key rows unbounded preceding) - octet_length(data) as used
        from (
            select tenant, namespace, key, version, status, data::text as data, owner, created_at, updated_at, first_version,
                false as is_deleted
            from state
            where tenant = $1 and namespace = $2 and key > $3 and deleted_at is null and ($4 = '' or status = $4)
            order by key limit $5
        ) t
    ) bounded where used <= $6 order by key
"""
_LIST_OWNED = _LIST.replace("order by key limit", "and owner = $7 order by key limit")
"""A statement of its own: a condition that may not hold would keep the server from the index of owners."""
_HISTORY = """
    select * from (
        select t.*, octet_length(data) as size,
            sum(octet_length(data)) over (order by version desc rows unbounded preceding) - octet_length(data) as used
        from (
            select version, type, coalesce(data ->> 'event', '') as event, data ->> 'from' as from_status,
                data ->> 'status' as status, (data -> 'data')::text as data, actor, time, id
            from outbox_event
            where tenant = $1 and stream = $2 and subject = $3 and version >= $4 and ($5::bigint is null or version < $5)
            order by version desc limit $6
        ) t
    ) bounded where used <= $7 order by version desc
"""


class PostgresStateStore:
    """A StateStore in the service's schema, beside the outbox's tables."""

    def __init__(self, database: DatabaseManager, ledger: IdempotencyLedger[Connection]) -> None:
        self._database = database
        self._ledger = ledger
        self._cas = (files("stylobate_state.store") / "cas.sql").read_text(encoding="utf-8")

    async def read(self, keys: Sequence[StateKey]) -> dict[StateKey, StateRecord]:
        if not keys:
            return {}
        tenants, namespaces, names = zip(*keys, strict=True)
        rows = await self._database.fetch(_READ, tenants, namespaces, names)
        return {state.key: state for state in map(_state, rows)}

    async def write(self, writes: Sequence[Write]) -> list[WriteOutcome]:
        """See StateStore. A statement; a transaction of several where there are idempotency keys."""
        if all(write.claim is None for write in writes):
            return await self._write(self._database, writes)
        async with self._database.transaction() as connection:
            ours = iter(await self._ledger.claim(connection, [write.claim for write in writes if write.claim is not None]))
            is_free = [write.claim is None or next(ours) for write in writes]
            free = [write for write, mine in zip(writes, is_free, strict=True) if mine]
            outcomes = await self._write(connection, free) if free else []
            results = [
                (write.claim, write.as_written(outcome))
                for write, outcome in zip(free, outcomes, strict=True)
                if write.claim is not None and isinstance(outcome, Written)
            ]
            await self._ledger.answer(connection, results)
        found = iter(outcomes)
        return [next(found) if mine else Taken() for mine in is_free]

    async def _write(self, database: DatabaseManager | Connection, writes: Sequence[Write]) -> list[WriteOutcome]:
        try:
            rows = await database.fetch(self._cas, *_columns(writes))
        except ValueRefusedError as error:
            raise StateDataInvalidError.at("", f"cannot be kept: {error.__cause__}") from error
        except UnicodeDecodeError as error:
            raise StateDataInvalidError.at("", "is not UTF-8") from error
        return [_outcome(write, row) for write, row in zip(writes, rows, strict=True)]

    async def list_states(self, query: ListQuery) -> Part[StateRecord]:
        async def more(count: int, left: int, last: StateRecord | None) -> list[tuple[StateRecord, int]]:
            after = query.after if last is None else last.key.key
            args = (query.tenant, query.namespace, after, query.status, count, left)
            if query.owner is None:
                rows = await self._database.fetch(_LIST, *args)
            else:
                rows = await self._database.fetch(_LIST_OWNED, *args, query.owner)
            return [(_state(row), row["size"]) for row in rows]

        return await gather(query.limit, query.max_bytes, more)

    async def list_history(self, query: HistoryQuery) -> Part[HistoryEntry]:
        async def more(count: int, left: int, last: HistoryEntry | None) -> list[tuple[HistoryEntry, int]]:
            before = query.before if last is None else last.version
            rows = await self._database.fetch(_HISTORY, *query.key, query.since, before, count, left)
            return [(_entry(row), row["size"]) for row in rows]

        return await gather(query.limit, query.max_bytes, more)

    async def health(self) -> Health:
        return await self._database.health()


def _columns(writes: Sequence[Write]) -> list[list[object]]:
    """Return the writes as the arrays that the statement takes, in its order."""
    return columns(
        (
            index,
            *write.key,
            write.expected,
            write.owner,
            write.status,
            write.data.decode(),
            write.actor,
            write.event_id,
            write.change.value,
            write.event,
            write.from_status,
            partition_of(write.key.tenant, write.key.key),
            write.depth,
            write.traceparent,
        )
        for index, write in enumerate(writes)
    )


def _outcome(write: Write, row: asyncpg.Record) -> WriteOutcome:
    version, status, owner, created_at, updated_at, first_version, data, seen, is_live = row
    if version is not None:
        return Written(version, status, owner, created_at, updated_at, first_version, compact_numbers(data.encode()))
    if seen is None and write.expected == 0:
        return Refused(None)  # nothing was there when the statement began; another's insert was faster
    return Refused(seen if is_live else 0)


def _state(row: asyncpg.Record) -> StateRecord:
    tenant, namespace, key, version, status, data, owner, created_at, updated_at, first_version, is_deleted, *_ = row
    return StateRecord(
        key=StateKey(tenant, namespace, key),
        version=version,
        status=status,
        data=compact_numbers(data.encode()),
        owner=owner,
        created_at=created_at,
        updated_at=updated_at,
        first_version=first_version,
        is_deleted=is_deleted,
    )


def _entry(row: asyncpg.Record) -> HistoryEntry:
    change = Change(row["type"].rpartition(".")[2])
    status = row["status"]
    from_status = {Change.CREATED: "", Change.TRANSITIONED: row["from_status"]}.get(change, status)
    is_deletion = change is Change.DELETED
    return HistoryEntry(
        version=row["version"],
        change=change,
        event=row["event"],
        from_status=from_status,
        to_status="" if is_deletion else status,
        data=b"" if is_deletion else compact_numbers(row["data"].encode()),
        actor=row["actor"],
        time=row["time"],
        event_id=str(row["id"]),
    )
