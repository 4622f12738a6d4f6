"""Indexes in MongoDB: which there are, what writes enter into them, and how objects are found by them.

``state_entry`` holds an entry for each object in each. A process that writes must know every index, also those that only another
one declares. So each change of what indexes there are begins another *generation*, each write says which generation it knows, and
the validator of ``state`` refuses those that know an older one (:mod:`~stylobate_state.store.mongodb.fence`); they read, and try
again.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from bson import Int64
from pymongo import DeleteMany, InsertOne
from stylobate.database.mongodb import MongoManager, MongoTransaction, micros

from stylobate_state.index import Index
from stylobate_state.model import IndexStanding
from stylobate_state.store.mongodb.batch import Known, Made, Value
from stylobate_state.store.mongodb.fence import MongoFence, has_objects

INDEX = "state_index"
ENTRY = "state_entry"


class MongoIndexes:
    """The indexes that there are, as far as this process knows."""

    def __init__(self, database: MongoManager, fence: MongoFence) -> None:
        self._database = database
        self._fence = fence
        self._by_namespace: dict[str, list[Known]] = {}
        self._known: dict[Index, Known] = {}
        self._ready: set[int] = set()
        self.newest = -1
        """The newest generation that is known; only ever rises. Below 0: nothing was read yet."""

    async def read(self) -> list[IndexStanding]:
        """Read which there are."""
        generation = await self._fence.generation()  # before the rest: what is newer than it is read again
        rows = await self._database.find(INDEX, {"is_dropped": False}, sort=[("_id", 1)])
        known = {row["_id"]: index for row in rows if (index := Index.defined(row["namespace"], row["definition"])) is not None}
        standings = []
        by_namespace: dict[str, list[Known]] = {}
        for row in rows:
            index = known.get(row["_id"])
            if index is not None:
                by_namespace.setdefault(index.namespace, []).append(Known(row["_id"], index, row["is_strict"]))
                standings.append(IndexStanding(index, row["is_ready"], row["entered"], row["problem"]))
        self._by_namespace = by_namespace
        self._known = {one.index: one for some in by_namespace.values() for one in some}
        self._ready = {row["_id"] for row in rows if row["is_ready"]}
        self.newest = max(self.newest, generation)
        return standings

    def of(self, namespace: str) -> Sequence[Known]:
        """Return the indexes of a namespace, the oldest first."""
        return self._by_namespace.get(namespace, ())

    async def declare(self, indexes: Sequence[Index]) -> None:
        """See StateStore."""
        standings = await self.read()
        there = {standing.index for standing in standings}
        if heard := [self._known[index].id for index in indexes if index in there]:
            await self._database.update_many(INDEX, {"_id": {"$in": heard}}, {"$set": {"declared_at": _now()}})
        new = [index for index in indexes if index not in there]
        for index in new:
            await self._announce(index)
        if new:
            await self.read()

    async def _announce(self, index: Index) -> None:
        """Make an index known to every writer. It is ready at once where nothing was ever written."""
        is_empty = not await has_objects(self._database, index.namespace)

        async def announce(transaction: MongoTransaction) -> int | None:
            name = {"namespace": index.namespace, "definition": index.definition, "is_dropped": False}
            if await transaction.find_one(INDEX, name) is not None:
                return None
            generation = await self._fence.begin(transaction)
            said = {"is_strict": is_empty, "is_ready": False, "declared_at": _now(), "place": None, "entered": 0, "problem": ""}
            await transaction.insert(INDEX, [{"_id": generation} | name | said])
            return generation

        id_ = await self._database.transact(announce)
        if id_ is None:
            return
        await self._fence.close()
        if not is_empty:
            return
        if await has_objects(self._database, index.namespace, older_than=id_):
            await self.loosen(id_)
        else:
            await self._database.update_one(INDEX, {"_id": id_}, {"$set": {"is_ready": True}})

    async def tighten(self, id_: int) -> None:
        """Have what an index refuses refused from now on, by every writer."""
        await self._strict(id_, is_strict=True)

    async def loosen(self, id_: int) -> None:
        """Have it noted only."""
        await self._strict(id_, is_strict=False)

    async def _strict(self, id_: int, *, is_strict: bool) -> None:
        async def change(transaction: MongoTransaction) -> None:
            await self._fence.begin(transaction)
            await transaction.update_one(INDEX, {"_id": id_}, {"$set": {"is_strict": is_strict}})

        await self._database.transact(change)
        await self._fence.close()

    async def holders(self, transaction: MongoTransaction, wanted: Sequence[Value]) -> dict[Value, str]:
        """Return who has values that only one may have, by its key."""
        if not wanted:
            return {}
        asked: dict[tuple[int, str], list[str]] = {}
        for value in wanted:
            asked.setdefault((value.index, value.tenant), []).append(as_text(value.sort))
        conditions = [
            {"_id.index": index, "_id.tenant": tenant, "sort": {"$in": sorts}, "hold": 1}
            for (index, tenant), sorts in sorted(asked.items())
        ]
        found = await transaction.find(ENTRY, {"$or": conditions} if len(conditions) > 1 else conditions[0])
        return {Value(one["_id"]["index"], one["_id"]["tenant"], as_bytes(one["sort"])): one["_id"]["key"] for one in found}

    async def enter(self, transaction: MongoTransaction, made: Sequence[Made]) -> None:
        """Enter what was written. What leaves comes first: values that change hands are free then."""
        leaving = [entry_id(id_, one.state.key.tenant, one.state.key.key) for one in made for id_ in one.left]
        entering = [
            {
                "_id": entry_id(id_, one.state.key.tenant, one.state.key.key),
                "sort": as_text(place.sort),
                "hold": int(place.hold),
                **({} if place.owner is None else {"owner": place.owner}),
            }
            for one in made
            for id_, place in one.entered
        ]
        operations: list[Any] = [DeleteMany({"_id": {"$in": leaving}})] if leaving else []
        operations += [InsertOne(entry) for entry in entering]
        if operations:
            await transaction.bulk(ENTRY, operations, ordered=True)

    async def is_ready(self, index: Index) -> Known | None:
        """Return the index if it is ready."""
        known = self._known.get(index)
        if known is None or known.id not in self._ready:
            await self.read()
            known = self._known.get(index)
        return known if known is not None and known.id in self._ready else None


def entry_id(index: int, tenant: str, key: str) -> dict[str, Any]:
    """Return the ``_id`` of an entry."""
    return {"index": index, "tenant": tenant, "key": key}


def as_text(sort: bytes) -> str:
    """Return bytes as a text that is sorted as they are: MongoDB compares binaries by their length first."""
    return sort.decode("latin-1")


def as_bytes(sort: str) -> bytes:
    """Return the bytes of such a text."""
    return sort.encode("latin-1")


def _now() -> Int64:
    return Int64(micros(datetime.now(UTC)))
