"""Indexes in PostgreSQL: which there are, what writes enter into them, and how objects are found by them.

A process that writes must know every index, also those that only another one declares. So an index is announced while no write
is under way: writes hold a lock on ``state_index`` because they read it, and take their snapshot after the lock. A write from a
process that does not know the newest index does nothing, and is sent again with what that index needs.
"""

from collections.abc import Sequence

import asyncpg
from stylobate.database import Connection, DatabaseManager
from stylobate.database.batches import columns

from stylobate_state.index import Index
from stylobate_state.model import ByteRange, IndexQuery, IndexStanding, Write
from stylobate_state.store.postgres_replica import listed

ALONE = "lock table state_index in access exclusive mode"
"""For what must happen while no write is under way: writes hold a lock on the table until they are committed."""
_ALL = "select id, namespace, definition, is_ready, is_dropped, entered, problem from state_index order by id"
_HEARD = """
update state_index set declared_at = now() from unnest($1::text[], $2::text[]) as told (namespace, definition)
where state_index.namespace = told.namespace and state_index.definition = told.definition
returning state_index.namespace, state_index.definition
"""
_ANNOUNCE = """
insert into state_index (namespace, definition, own, statuses, is_unique, by_owner, is_ready)
values ($1, $2, $3, $4, $5, $6, not exists (select from state where namespace = $1))
on conflict (namespace, definition) do nothing
"""
# Each range is read in the order of its entries and no further than asked for; then they are merged.
_FIND = """
select found.*, d.is_ready from state_index d left join lateral (
    select * from (
        select t.*, octet_length(data) as size,
            sum(octet_length(data)) over (order by place, key rows unbounded preceding) - octet_length(data) as used
        from (
            select s.tenant, s.namespace, s.key, s.version, s.status, s.data::text as data, s.owner,
                s.created_at::text, s.updated_at::text,
                s.first_version, false as is_deleted, e.place, s.timers::text as timers, s.schema_version
            from (
                select substr(e.sort, r.cut + 1) as place, e.key
                from unnest($3::bytea[], $4::text[], $5::bytea[], $6::int[]) as r (start, key, stop, cut)
                cross join lateral (
                    select e.sort, e.key from state_entry e
                    where e.index_id = d.id and e.tenant = $2 and (e.sort, e.key) > (r.start, r.key) and e.sort < r.stop
                    order by e.sort, e.key limit $7
                ) e
                order by place, key limit $7
            ) e
            join state s on s.tenant = $2 and s.namespace = d.namespace and s.key = e.key
        ) t
    ) bounded where used <= $8 order by place, key
) found on true
where d.id = $1 and not d.is_dropped
"""
_COUNT = """
select d.is_ready, (
    select count(*) from (
        select from unnest($3::bytea[], $4::text[], $5::bytea[], $6::int[]) as r (start, key, stop, cut)
        cross join lateral (
            select from state_entry e
            where e.index_id = d.id and e.tenant = $2 and (e.sort, e.key) > (r.start, r.key) and e.sort < r.stop
            limit $7
        ) e
        limit $7
    ) counted
) as count
from state_index d where d.id = $1 and not d.is_dropped
"""
_DOWN = (
    ("(e.sort, e.key) > (r.start, r.key) and e.sort < r.stop", "(e.sort, e.key) < (r.start, r.key) and e.sort >= r.stop"),
    ("order by e.sort, e.key", "order by e.sort desc, e.key desc"),
    ("order by place, key", "order by place desc, key desc"),
)
_TENANT, _OWNED = "e.tenant = $2 and (", "e.tenant = $2 and e.owner = $9 and ("
_AMONG = "e.tenant = $2 and (e.owner = $9 or e.key = any ($10::text[])) and ("
_COUNTS = {
    None: _COUNT,
    False: _COUNT.replace(_TENANT, _OWNED.replace("$9", "$8")),
    True: _COUNT.replace(_TENANT, _AMONG.replace("$9", "$8").replace("$10", "$9")),
}


def _down(statement: str) -> str:
    for up, down in _DOWN:
        statement = statement.replace(up, down)
    return statement


def restricted(statement: str) -> dict[bool | None, str]:
    """Return a statement that takes eight arguments for everyone's objects, one owner's, and those at keys beside these.

    See :func:`restriction`.
    """
    return {None: statement, False: statement.replace(_TENANT, _OWNED), True: statement.replace(_TENANT, _AMONG)}


def restriction(query: IndexQuery) -> tuple[bool | None, list[object]]:
    """Return which of the statements of :func:`restricted` a query takes, and with what."""
    if query.keys is not None:
        return True, [query.owner, list(query.keys)]
    return (None, []) if query.owner is None else (False, [query.owner])


_FINDS = {False: restricted(_FIND), True: restricted(_down(_FIND))}


class PostgresIndexes:
    """The indexes that there are, as far as this process knows."""

    def __init__(self, database: DatabaseManager) -> None:
        self._database = database
        self._by_namespace: dict[str, list[tuple[int, Index]]] = {}
        self._ids: dict[Index, int] = {}
        self._by_id: dict[int, Index] = {}
        self.newest = -1
        """The newest one that is known; only ever rises. Below 0: nothing was read yet."""

    async def read(self, database: DatabaseManager | Connection | None = None) -> list[IndexStanding]:
        """Read which there are.

        :param database: the connection of who holds one already: it must not wait for another one of the same pool.
        """
        rows = await (database or self._database).fetch(_ALL)
        live = {row["id"]: row for row in rows if not row["is_dropped"]}
        known = {id_: Index.defined(row["namespace"], row["definition"]) for id_, row in live.items()}
        self._by_id = {id_: index for id_, index in known.items() if index is not None}
        self._ids = {index: id_ for id_, index in self._by_id.items()}
        by_namespace: dict[str, list[tuple[int, Index]]] = {}
        for id_, index in self._by_id.items():
            by_namespace.setdefault(index.namespace, []).append((id_, index))
        self._by_namespace = by_namespace
        self.newest = max([self.newest, 0, *(row["id"] for row in rows)])
        return [
            IndexStanding(index, live[id_]["is_ready"], live[id_]["entered"], live[id_]["problem"])
            for id_, index in self._by_id.items()
        ]

    async def declare(self, indexes: Sequence[Index]) -> None:
        """See StateStore."""
        if indexes:
            told = columns((index.namespace, index.definition) for index in indexes)
            there = {(row["namespace"], row["definition"]) for row in await self._database.fetch(_HEARD, *told)}
            new = [index for index in indexes if (index.namespace, index.definition) not in there]
            if new:
                async with self._database.transaction() as connection:
                    await connection.execute(ALONE)
                    await connection.executemany(_ANNOUNCE, [_row(index) for index in new])
        await self.read()

    def entries(self, writes: Sequence[Write]) -> list[list[object]]:
        """Return what the writes enter, as arrays: number of the write, index, trait, and up to three fields. None: nothing."""
        rows = [
            _entry(number, write, id_, index)
            for number, write in enumerate(writes)
            for id_, index in self._by_namespace.get(write.key.namespace, ())
        ]
        return columns(rows) if rows else []

    def index(self, id_: int) -> Index:
        """Return the index of an id that a statement gave. Those are known."""
        return self._by_id[id_]

    async def find(self, query: IndexQuery, limit: int, max_bytes: int) -> list[asyncpg.Record] | None:
        """Return the next rows of a query; None where the index is not ready."""
        which, whose = restriction(query)
        found = await self._asked(_FINDS[query.is_descending][which], query, limit, max_bytes, *whose)
        if not found or not found[0]["is_ready"]:
            return None
        return [row for row in found if row["key"] is not None]

    async def count(self, query: IndexQuery) -> int | None:
        """Return how many entries the query finds, up to its limit; None where the index is not ready."""
        which, whose = restriction(query)
        ascending = IndexQuery(query.tenant, query.index, query.ranges, query.limit, may_lag=query.may_lag)
        found = await self._asked(_COUNTS[which], ascending, query.limit, *whose)
        return int(found[0]["count"]) if found and found[0]["is_ready"] else None

    async def known(self, index: Index) -> None:
        """Look which indexes there are, if this one is not known."""
        if index not in self._ids:
            await self.read()

    def everything(self, query: IndexQuery) -> list[object]:
        """Return what statements take of a query from the beginning of its ranges: index, tenant, and the ranges as arrays."""
        return self._arguments(IndexQuery(query.tenant, query.index, query.ranges, query.limit))

    async def _asked(self, statement: str, query: IndexQuery, *args: object) -> list[asyncpg.Record]:
        await self.known(query.index)
        found = await listed(self._database, statement, *self._arguments(query), *args, may_lag=query.may_lag)
        if not found:
            await self.read()  # removed, perhaps declared again
        return found

    def _arguments(self, query: IndexQuery) -> list[object]:
        bounds = columns(_bounds(part, query) for part in query.ranges)
        return [self._ids.get(query.index), query.tenant, *bounds]


def _entry(number: int, write: Write, id_: int, index: Index) -> tuple[object, ...]:
    trait, parts = index.parts(write.data, write.owner)
    return number, id_, trait.value, *parts, *(b"",) * (3 - len(parts))


def _row(index: Index) -> tuple[object, ...]:
    own, statuses = list(index.own), list(index.statuses) or None
    return index.namespace, index.definition, own, statuses, index.is_unique, index.by_owner


def _bounds(part: ByteRange, query: IndexQuery) -> tuple[bytes, str, bytes, int]:
    """Return where to begin in a range, the key to begin behind, where to stop, and its cut."""
    first, last = (part.high, part.low) if query.is_descending else (part.low, part.high)
    if query.after is None:
        return first, "", last, part.cut
    place, key = query.after
    behind = part.low[: part.cut] + place
    is_within = behind < first if query.is_descending else behind >= first
    return (behind, key, last, part.cut) if is_within else (first, "", last, part.cut)
