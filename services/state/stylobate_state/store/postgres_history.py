"""The history of objects in PostgreSQL: the rows of the outbox, found by indexes only."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg
from stylobate.database import DatabaseManager
from stylobate.strict_json import compact_numbers

from stylobate_state.model import Change, HistoryEntry, HistoryQuery, StateKey
from stylobate_state.store.part import Part, gather

# As lists: each row comes with the size of its data, and none before which the bytes of the bound are used up.
_BOUNDED = """
    select * from (
        select t.*, octet_length(data) as size,
            sum(octet_length(data)) over (order by version desc rows unbounded preceding) - octet_length(data) as used
        from (:rows order by version desc limit $6) t
    ) bounded where used <= $7 order by version desc
"""
_ENTRY = """
    select version, type, coalesce(data ->> 'event', '') as event, data ->> 'from' as from_status,
        data ->> 'status' as status, coalesce((data ->> 'restored_from')::bigint, 0) as restored_from,
        coalesce((data ->> 'schema_version')::int, 1) as schema_version,
        data ? 'forgotten' as is_forgotten, (data -> 'data')::text as data, actor, time, id,
        coalesce(data ->> 'owner', '') as owner, coalesce(data ->> 'previous_owner', '') as previous_owner
    from outbox_event
    where tenant = $1 and stream = $2 and subject = $3 and version >= $4 and ($5::bigint is null or version < $5)
"""
_TYPED = f"{_ENTRY} and type = $8 and state_mark(tenant, stream, subject, '', type) = state_mark($1, $2, $3, '', $8)"
# One look into the index for each way to change an object, of which the newest are taken.
_ACTED = """
    select entry.* from unnest($8::text[]) as wanted (type) cross join lateral (
        :entry and type = wanted.type and actor = $9
            and state_mark(tenant, stream, subject, actor, type) = state_mark($1, $2, $3, $9, wanted.type)
        order by version desc limit $6
    ) entry
""".replace(":entry", _ENTRY)
_ALL, _OF_TYPE, _OF_ACTOR = (_BOUNDED.replace(":rows", rows) for rows in (_ENTRY, _TYPED, _ACTED))
# Versions have no gaps and times rise with them, so a time is searched by halving: some fourteen looks into 10,000 versions.
_BEFORE = """
    with recursive search (low, high) as (
        select 0::bigint, coalesce(max(version), 0) from outbox_event where tenant = $1 and stream = $2 and subject = $3
        union all
        select case when made.is_before then middle else low end, case when made.is_before then high else middle - 1 end
        from search cross join lateral (select (low + high + 1) / 2 as middle) half
        cross join lateral (
            select time < $4 as is_before from outbox_event
            where tenant = $1 and stream = $2 and subject = $3 and version = middle
        ) made
        where low < high
    )
    select low from search where low = high
"""
# A creation from before there were hand-overs does not say whose it is: the actor's.
_OWNER_BEFORE = """
    select coalesce(data ->> 'owner', actor) from unnest($5::text[]) as wanted (type) cross join lateral (
        select version, actor, data from outbox_event
        where tenant = $1 and stream = $2 and subject = $3 and version < $4 and type = wanted.type
            and state_mark(tenant, stream, subject, '', type) = state_mark($1, $2, $3, '', wanted.type)
        order by version desc limit 1
    ) named
    order by version desc limit 1
"""


class PostgresHistory:
    """The part of PostgresStateStore that reads what happened."""

    def __init__(self, database: DatabaseManager) -> None:
        self._database = database

    async def list(self, query: HistoryQuery) -> Part[HistoryEntry]:
        """See StateStore.list_history."""
        namespace = query.key.namespace
        types = [_type(namespace, change) for change in (Change if query.change is None else (query.change,))]
        statement, asked = _ALL, list[object]()
        if query.actor:
            statement, asked = _OF_ACTOR, [types, query.actor]
        elif query.change is not None:
            statement, asked = _OF_TYPE, [*types]

        async def more(count: int, left: int, last: HistoryEntry | None) -> Sequence[tuple[HistoryEntry, int]]:
            before = query.before if last is None else last.version
            rows = await self._database.fetch(statement, *query.key, query.since, before, count, left, *asked)
            return [(_entry(row), row["size"]) for row in rows]

        return await gather(query.limit, query.max_bytes, more)

    async def version_before(self, key: StateKey, time: datetime) -> int:
        """See StateStore."""
        return int(await self._database.fetchval(_BEFORE, *key, time))

    async def owner_before(self, key: StateKey, version: int) -> str | None:
        """See StateStore."""
        types = [_type(key.namespace, change) for change in (Change.CREATED, Change.ASSIGNED)]
        found: str | None = await self._database.fetchval(_OWNER_BEFORE, *key, version, types)
        return found


def _type(namespace: str, change: Change) -> str:
    return f"state.{namespace}.{change}"


def _entry(row: asyncpg.Record) -> HistoryEntry:
    change = Change(row["type"].rpartition(".")[2])
    status = row["status"]
    from_status = {Change.CREATED: "", Change.TRANSITIONED: row["from_status"]}.get(change, status)
    is_deletion, is_forgotten = change is Change.DELETED, row["is_forgotten"]
    return HistoryEntry(
        version=row["version"],
        change=change,
        event=row["event"],
        from_status=from_status,
        to_status="" if is_deletion else status,
        data=b"" if is_deletion or is_forgotten else compact_numbers(row["data"].encode()),
        actor=row["actor"],
        time=row["time"],
        event_id=str(row["id"]),
        restored_from=row["restored_from"],
        schema_version=row["schema_version"],
        is_forgotten=is_forgotten,
        owner=row["owner"],
        previous_owner=row["previous_owner"],
    )
