"""What an index finds, sorted by another field: all of it is looked at, once, and the page is read out of the same moment."""

from collections.abc import Sequence
from contextlib import suppress

import asyncpg
import msgspec
from stylobate.database import Connection, DatabaseManager
from stylobate.database.queries import Queries
from stylobate.declarations.indexes import path_of
from stylobate.declarations.model import IndexField
from stylobate.errors import DatabaseUnavailableError

from stylobate_state.index import place_by
from stylobate_state.model import MOST_SORTED, Indexed, IndexQuery, TooMany
from stylobate_state.store.part import Part, gather
from stylobate_state.store.postgres_indexes import PostgresIndexes, restricted, restriction
from stylobate_state.store.postgres_rows import state_of

_SNAPSHOT = "set transaction isolation level repeatable read, read only"
# A path of jsonpath in strict mode goes through objects only, as those of indexes do. `offset 0` keeps the server from reading
# all objects to join them with the few that are found.
_MATCHES = """
select found.*, d.is_ready from state_index d left join lateral (
    select s.key, s.owner, s.status, s.created_at, s.updated_at,
        jsonb_path_query_first(s.data, $8::jsonpath, silent => true)::text as member
    from (
        select e.key
        from unnest($3::bytea[], $4::text[], $5::bytea[], $6::int[]) as r (start, key, stop, cut)
        cross join lateral (
            select e.key from state_entry e
            where e.index_id = d.id and e.tenant = $2 and (e.sort, e.key) > (r.start, r.key) and e.sort < r.stop
            order by e.sort, e.key limit $7
        ) e
        limit $7
    ) e
    cross join lateral (
        select * from state s where s.tenant = $2 and s.namespace = d.namespace and s.key = e.key offset 0
    ) s
) found on true
where d.id = $1 and not d.is_dropped
"""
_MATCHED = restricted(_MATCHES)
_PAGE = """
select * from (
    select t.*, octet_length(data) as size,
        sum(octet_length(data)) over (order by place rows unbounded preceding) - octet_length(data) as used
    from (
        select s.tenant, s.namespace, s.key, s.version, s.status, s.data::text as data, s.owner,
            s.created_at::text, s.updated_at::text,
            s.first_version, false as is_deleted, s.timers::text as timers, s.schema_version, asked.place
        from unnest($3::text[]) with ordinality as asked (key, place)
        join state s on s.tenant = $1 and s.namespace = $2 and s.key = asked.key
    ) t
) bounded where used <= $4 order by place
"""


async def sorted_part(
    database: DatabaseManager, indexes: PostgresIndexes, query: IndexQuery, order: IndexField
) -> Part[Indexed] | TooMany | None:
    """Return a page of what the query finds, in this order; None where its index is not ready."""
    await indexes.known(query.index)
    if query.may_lag:
        with suppress(DatabaseUnavailableError):
            return await _sorted_in(database.reader, indexes, query, order)
    return await _sorted_in(database, indexes, query, order)


async def _sorted_in(
    database: Queries, indexes: PostgresIndexes, query: IndexQuery, order: IndexField
) -> Part[Indexed] | TooMany | None:
    which, whose = restriction(query)
    async with database.transaction() as connection:
        await connection.execute(_SNAPSHOT)
        arguments = (*indexes.everything(query), MOST_SORTED + 1, _jsonpath(order))
        rows = await connection.fetch(_MATCHED[which], *arguments, *whose)
        if not rows or not rows[0]["is_ready"]:
            return None
        if len(rows) > MOST_SORTED:
            return TooMany()
        places = sorted((_place(order, row) for row in rows if row["key"] is not None), reverse=query.is_descending)
        return await _page(connection, query, [place for place in places if _is_behind(place, query)])


async def _page(connection: Connection, query: IndexQuery, places: Sequence[tuple[bytes, str]]) -> Part[Indexed]:
    place_of = {key: place for place, key in places}
    done = 0

    async def more(count: int, left: int, last: Indexed | None) -> list[tuple[Indexed, int]]:
        nonlocal done
        del last
        keys = [key for _, key in places[done : done + count]]
        rows = await connection.fetch(_PAGE, query.tenant, query.index.namespace, keys, left) if keys else []
        done += len(rows)
        return [(Indexed(state_of(row), place_of[row["key"]]), row["size"]) for row in rows]

    return await gather(query.limit, query.max_bytes, more)


def _is_behind(place: tuple[bytes, str], query: IndexQuery) -> bool:
    """Return whether the page may begin with it or come to it."""
    if query.after is None:
        return True
    return place < query.after if query.is_descending else place > query.after


def _place(order: IndexField, row: asyncpg.Record) -> tuple[bytes, str]:
    key, owner, status, created_at, updated_at, member, _ = row
    raw = b"" if member is None else member.encode()
    return place_by(order, raw, owner=owner, status=status, created_at=created_at, updated_at=updated_at), key


def _jsonpath(order: IndexField) -> str | None:
    """Return the path of the field in the data; None for what the object itself has."""
    path = path_of(order.name)
    return "strict $" + "".join(f".{msgspec.json.encode(name).decode()}" for name in path) if path else None
