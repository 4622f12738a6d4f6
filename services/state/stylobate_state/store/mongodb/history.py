"""The history of objects in MongoDB: the documents of the outbox, found by indexes only."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from bson import Int64
from stylobate.database.mongodb import Document, MongoManager, from_micros, micros

from stylobate_state.model import Change, HistoryEntry, HistoryQuery, StateKey
from stylobate_state.store.mongodb.documents import EVENT
from stylobate_state.store.mongodb.events import at, mark, type_of
from stylobate_state.store.part import Part, gather

_DOWN = [("version", -1)]


class _Told(msgspec.Struct):
    """What an event says, as far as the history shows it."""

    status: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")
    event: str = ""
    from_status: str = msgspec.field(name="from", default="")
    restored_from: int = 0
    schema_version: int = 1
    forgotten: bool = False
    owner: str | None = None
    previous_owner: str = ""


_told = msgspec.json.Decoder(_Told).decode


class MongoHistory:
    """The part of MongoStateStore that reads what happened."""

    def __init__(self, database: MongoManager) -> None:
        self._database = database

    async def list(self, query: HistoryQuery) -> Part[HistoryEntry]:
        """See StateStore.list_history."""
        key = query.key
        types = [type_of(key.namespace, change) for change in (Change if query.change is None else (query.change,))]
        which: dict[str, Any] = {}
        if query.actor:
            which = {"marks.actor": {"$in": [mark(key, one, query.actor) for one in types]}, "actor": query.actor}
        elif query.change is not None:
            which = {"marks.type": mark(key, types[0]), "type": types[0]}

        async def more(count: int, left: int, last: HistoryEntry | None) -> Sequence[tuple[HistoryEntry, int]]:
            del left
            before = query.before if last is None else last.version
            versions = {"$gte": Int64(query.since), **({} if before is None else {"$lt": Int64(before)})}
            found = await self._database.find(EVENT, at(key) | which | {"version": versions}, sort=_DOWN, limit=count)
            return [(entry, len(entry.data)) for entry in map(_entry, found)]

        return await gather(query.limit, query.max_bytes, more)

    async def version_before(self, key: StateKey, time: datetime) -> int:
        """See StateStore. Versions have no gaps and times rise with them, so a time is searched by halving."""
        newest = await self._database.find_one(EVENT, at(key), {"version": 1}, sort=_DOWN)
        low, high = 0, 0 if newest is None else int(newest["version"])
        while low < high:
            middle = (low + high + 1) // 2
            found = await self._database.find_one(EVENT, at(key) | {"version": Int64(middle)}, {"time": 1})
            if found is not None and found["time"] < micros(time):
                low = middle
            else:
                high = middle - 1
        return low

    async def owner_before(self, key: StateKey, version: int) -> str | None:
        """See StateStore."""
        types = [type_of(key.namespace, change) for change in (Change.CREATED, Change.ASSIGNED)]
        named = [
            found
            for one in types
            if (
                found := await self._database.find_one(
                    EVENT,
                    at(key) | {"marks.type": mark(key, one), "type": one, "version": {"$lt": Int64(version)}},
                    sort=_DOWN,
                )
            )
            is not None
        ]
        if not named:
            return None
        newest = max(named, key=lambda one: int(one["version"]))
        owner = _told(newest["data"]).owner
        return str(newest["actor"]) if owner is None else owner


def _entry(found: Document) -> HistoryEntry:
    change, told = Change(found["type"].rpartition(".")[2]), _told(found["data"])
    from_status = {Change.CREATED: "", Change.TRANSITIONED: told.from_status}.get(change, told.status)
    is_deletion = change is Change.DELETED
    return HistoryEntry(
        version=int(found["version"]),
        change=change,
        event=told.event,
        from_status=from_status,
        to_status="" if is_deletion else told.status,
        data=b"" if is_deletion or told.forgotten else bytes(told.data),
        actor=found["actor"],
        time=from_micros(found["time"]),
        event_id=str(found["_id"]),
        restored_from=told.restored_from,
        schema_version=told.schema_version,
        is_forgotten=told.forgotten,
        owner=told.owner or "",
        previous_owner=told.previous_owner,
    )
