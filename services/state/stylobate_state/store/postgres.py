"""State objects in PostgreSQL: one row each, their history in the outbox, a batch of writes in one statement."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain, islice
from operator import attrgetter
from typing import ClassVar, TypeVar

import asyncpg
from stylobate.database import Connection, DatabaseManager
from stylobate.database.faults import is_rolled_back, unavailable
from stylobate.errors import DatabaseUnavailableError, ValueRefusedError
from stylobate.health import Health
from stylobate.idempotency import IdempotencyLedger
from stylobate.stopping import check_cancelled

from stylobate_state.errors import StateDataInvalidError
from stylobate_state.index import Index
from stylobate_state.model import (
    HistoryEntry,
    HistoryQuery,
    Indexed,
    IndexQuery,
    IndexStanding,
    ListQuery,
    NotUnique,
    Refused,
    Scan,
    StateKey,
    StateRecord,
    Taken,
    TooLong,
    TooMany,
    Withheld,
    Write,
    WriteOutcome,
    grouped,
    result_of,
)
from stylobate_state.store.cas import Cas, alike, cas
from stylobate_state.store.part import Part, gather
from stylobate_state.store.postgres_history import PostgresHistory
from stylobate_state.store.postgres_index_builder import PostgresIndexBuilder
from stylobate_state.store.postgres_indexes import PostgresIndexes
from stylobate_state.store.postgres_outcomes import made
from stylobate_state.store.postgres_places import fenced
from stylobate_state.store.postgres_replica import listed
from stylobate_state.store.postgres_rows import state_of
from stylobate_state.store.postgres_scan import scan
from stylobate_state.store.postgres_sorting import sorted_part

T = TypeVar("T")
_claim = attrgetter("claim")
_CLASHES = 8
"""How often a batch is tried because another took a value of a unique index, or a key of a transaction, at the same moment."""

_READ = """
    select tenant, namespace, key, version, status, data::text as data, owner, created_at::text, updated_at::text, first_version,
        deleted_at is not null as is_deleted, timers::text as timers, schema_version
    from state join (
        select coalesce(t.tenant, ($1::text[])[1]) as tenant, coalesce(t.namespace, ($2::text[])[1]) as namespace, t.key
        from unnest($1::text[], $2::text[], $3::text[]) as t (tenant, namespace, key)
    ) asked using (tenant, namespace, key)
"""
# The rest bound what they return: each row comes with the size of its data, and none before which the bytes of the bound are
# used up. The text of a row is made once, in the inner query.
_LIST = """
    select * from (
        select t.*, octet_length(data) as size,
            sum(octet_length(data)) over (order by key rows unbounded preceding) - octet_length(data) as used
        from (
            select tenant, namespace, key, version, status, data::text as data, owner,
                created_at::text, updated_at::text, first_version, false as is_deleted, timers::text as timers, schema_version
            from state
            where tenant = $1 and namespace = $2 and key > $3 and deleted_at is null and ($4 = '' or status = $4)
            order by key limit $5
        ) t
    ) bounded where used <= $6 order by key
"""
_LIST_OWNED = _LIST.replace("order by key limit", "and owner = $7 order by key limit")
"""A statement of its own: a condition that may not hold would keep the server from the index of owners."""
# What stands at the keys is looked up one by one: `offset 0` keeps the server from reading all objects for the few.
_LIST_AMONG = _LIST.replace(
    "from state\n",
    """from (
                select u.key collate "C" as at from unnest($8::text[]) as u (key) where u.key collate "C" > $3
                union
                (
                    select key from state
                    where tenant = $1 and namespace = $2 and key > $3 and deleted_at is null and ($4 = '' or status = $4)
                        and owner = $7
                    order by key limit $5
                )
            ) asked
            cross join lateral (
                select * from state s where s.tenant = $1 and s.namespace = $2 and s.key = asked.at offset 0
            ) state
""",
)
_COUNT = """
    select count(*) from (
        select from state
        where tenant = $1 and namespace = $2 and deleted_at is null and ($3 = '' or status = $3)
        limit $4
    ) counted
"""
_COUNT_OWNED = _COUNT.replace("limit $4", "and owner = $5 limit $4")
_COUNT_AMONG = _COUNT.replace("limit $4", "and (owner = $5 or key = any ($6::text[])) limit $4")


class PostgresStateStore:
    """A StateStore in the service's schema, beside the outbox's tables."""

    has_events: ClassVar[bool] = True
    most_at_once: ClassVar[int] = 256

    def __init__(self, database: DatabaseManager, ledger: IdempotencyLedger[Connection]) -> None:
        self._database = database
        self._ledger = ledger
        self._indexes = PostgresIndexes(database)
        self._builder = PostgresIndexBuilder(database)
        self._history = PostgresHistory(database)

    def part(self, namespace: str) -> "PostgresStateStore":
        del namespace
        return self

    async def read(self, keys: Sequence[StateKey]) -> dict[StateKey, StateRecord]:
        if not keys:
            return {}
        tenants, namespaces, names = zip(*keys, strict=True)
        rows = await self._database.fetch(_READ, alike(tenants), alike(namespaces), names)
        return {state.key: state for state in map(state_of, rows)}

    async def write(self, writes: Sequence[Write]) -> list[WriteOutcome]:
        """See StateStore. A statement; a transaction of several where there are idempotency keys."""
        if not any(map(_claim, writes)):
            return await self._settle(self._database, writes)
        return await again(lambda: self._claimed(writes))

    async def write_in(self, connection: Connection, writes: Sequence[Write]) -> list[WriteOutcome]:
        """Write, within a transaction, what has no idempotency keys. When this raises, the transaction must be taken back."""
        return await self._settle(connection, writes)

    async def _claimed(self, writes: Sequence[Write]) -> list[WriteOutcome]:
        """Write those whose keys can be claimed, with their answers."""
        groups = grouped(writes)
        async with self._database.transaction() as connection:
            ours = iter(await self._ledger.claim(connection, [group[0].claim for group in groups if group[0].claim is not None]))
            is_free = [group[0].claim is None or next(ours) for group in groups]
            free = [group for group, mine in zip(groups, is_free, strict=True) if mine]
            found = iter(await self._settle(connection, list(chain.from_iterable(free))) if free else ())
            outcomes = [list(islice(found, len(group))) for group in free]
            answers = [
                (group[0].claim, result)
                for group, outcome in zip(free, outcomes, strict=True)
                if group[0].claim is not None and (result := result_of(group, outcome)) is not None
            ]
            await self._ledger.answer(connection, answers)
        done = iter(outcomes)
        return [
            outcome
            for group, mine in zip(groups, is_free, strict=True)
            for outcome in (next(done) if mine else [Taken()] * len(group))
        ]

    async def _settle(self, database: DatabaseManager | Connection, writes: Sequence[Write]) -> list[WriteOutcome]:
        """Write in one statement; those for which a write before them wanted the same unique values, in the next one."""
        if database is self._database:  # each statement is committed by itself, and clashes by itself
            sent, rows = await again(lambda: self._cas(database, writes))
        else:
            sent, rows = await self._cas(database, writes)
        outcomes = [
            written if written is not None else self._unmade(write, row)
            for written, write, row in zip(made(sent, writes, rows), writes, rows, strict=True)
        ]
        later = [write for write, outcome in zip(writes, outcomes, strict=True) if outcome is None] if None in outcomes else []
        if not later:
            return [outcome for outcome in outcomes if outcome is not None]
        settled = iter(await self._settle(database, later))
        return [next(settled) if outcome is None else outcome for outcome in outcomes]

    async def _cas(self, database: DatabaseManager | Connection, writes: Sequence[Write]) -> tuple[Cas, list[asyncpg.Record]]:
        """Run the statement, again where there are newer indexes than were known."""
        while True:
            check_cancelled()
            if self._indexes.newest < 0:
                await self._indexes.read(database)
            try:
                sent = cas(writes, self._indexes.newest, self._indexes.entries(writes))
                with fenced():
                    rows = await database.fetch(sent.text, *sent.args)
            except ValueRefusedError as error:
                raise StateDataInvalidError.at("", f"cannot be kept: {error.__cause__}") from error
            except UnicodeDecodeError as error:
                raise StateDataInvalidError.at("", "is not UTF-8") from error
            if rows:
                return sent, rows
            await self._indexes.read(database)

    def _unmade(self, write: Write, row: asyncpg.Record) -> WriteOutcome | None:
        """Return what became of a write that was not made; None where that is not decided yet."""
        if (refused := row["refused"]) is not None:
            return Refused(refused)
        why = row.get("why")
        if why in {None, "later"} and write.group:
            return Withheld() if row["is_refused"] else None
        if why == "later":
            return None
        if why is not None:
            index = self._indexes.index(row["index_id"])
            return NotUnique(index, write.key._replace(key=row["holder"])) if why == "unique" else TooLong(index)
        return Refused(None)  # nothing was there when the statement began; another's insert was faster

    async def list_states(self, query: ListQuery) -> Part[StateRecord]:
        async def more(count: int, left: int, last: StateRecord | None) -> list[tuple[StateRecord, int]]:
            after = query.after if last is None else last.key.key
            args = (query.tenant, query.namespace, after, query.status, count, left)
            if query.keys is not None:
                among = (query.owner, list(query.keys))
                rows = await listed(self._database, _LIST_AMONG, *args, *among, may_lag=query.may_lag)
            elif query.owner is None:
                rows = await listed(self._database, _LIST, *args, may_lag=query.may_lag)
            else:
                rows = await listed(self._database, _LIST_OWNED, *args, query.owner, may_lag=query.may_lag)
            return [(state_of(row), row["size"]) for row in rows]

        return await gather(query.limit, query.max_bytes, more)

    async def scan(self, namespace: str, after: StateKey | None, most: int) -> Scan:
        return await scan(self._database, namespace, after, most)

    async def query(self, query: IndexQuery) -> Part[Indexed] | TooMany | None:
        if query.order is not None:
            return await sorted_part(self._database, self._indexes, query, query.order)
        is_ready = True

        async def more(count: int, left: int, last: Indexed | None) -> list[tuple[Indexed, int]]:
            nonlocal is_ready
            place = query if last is None else replace(query, after=(last.place, last.state.key.key))
            rows = await self._indexes.find(place, count, left)
            is_ready = rows is not None
            return [(Indexed(state_of(row), row["place"]), row["size"]) for row in rows or ()]

        part = await gather(query.limit, query.max_bytes, more)
        return part if is_ready else None

    async def count(self, query: ListQuery | IndexQuery) -> int | None:
        if isinstance(query, IndexQuery):
            return await self._indexes.count(query)
        args = (query.tenant, query.namespace, query.status, query.limit)
        if query.keys is not None:
            among = (query.owner, list(query.keys))
            ((found,),) = await listed(self._database, _COUNT_AMONG, *args, *among, may_lag=query.may_lag)
        elif query.owner is None:
            ((found,),) = await listed(self._database, _COUNT, *args, may_lag=query.may_lag)
        else:
            ((found,),) = await listed(self._database, _COUNT_OWNED, *args, query.owner, may_lag=query.may_lag)
        return int(found)

    async def declare(self, indexes: Sequence[Index]) -> None:
        await self._indexes.declare(indexes)

    async def indexes(self) -> Sequence[IndexStanding]:
        return await self._indexes.read()

    async def build(self, most: int) -> bool:
        return await self._builder.build(most)

    async def list_history(self, query: HistoryQuery) -> Part[HistoryEntry]:
        return await self._history.list(query)

    async def version_before(self, key: StateKey, time: datetime) -> int:
        return await self._history.version_before(key, time)

    async def owner_before(self, key: StateKey, version: int) -> str | None:
        return await self._history.owner_before(key, version)

    async def health(self) -> Health:
        return await self._database.health()


async def again(work: Callable[[], Awaitable[T]]) -> T:
    """Do the work, again where others were at it at the same moment, so that nothing of it happened: they are seen then."""
    clash: Exception
    for _ in range(_CLASHES):
        try:
            return await work()
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name != "state_entry_unique":
                raise
            clash = error
        except DatabaseUnavailableError as error:
            if not is_rolled_back(error.__cause__):
                raise
            clash = error
    raise unavailable(clash)
