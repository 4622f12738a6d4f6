"""Projections in MongoDB, beside the state objects.

An object says of which generation it is (``generation``): what is of an older one was not made again yet.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bson import Int64
from stylobate.database.mongodb import Document, MongoManager, MongoTransaction, from_micros, micros

from stylobate_state.model import StateKey, Write
from stylobate_state.projection.errors import ProjectionRebuiltError
from stylobate_state.projection.model import Applied, Outcome, Projection, View
from stylobate_state.projection.outcomes import all_written
from stylobate_state.store.mongodb.documents import STATE, behind, id_of, key_of
from stylobate_state.store.mongodb.fence import next_tenant
from stylobate_state.store.mongodb.states import MongoStateStore
from stylobate_state.store.projections import Deletion

PROJECTION = "state_projection"
NUMBER = "state_projection_number"
_LOOKED = 2000
"""Objects that one step of a sweep looks at, once it has found any to delete."""


class _NotAppliedError(Exception):
    """Takes a transaction back."""


class MongoProjectionStore:
    """A ProjectionStore in the service's database."""

    def __init__(self, database: MongoManager, states: MongoStateStore) -> None:
        self._database = database
        self._writer = states.writer

    async def open(self, name: str) -> Projection:
        row = await self._database.find_and_update(PROJECTION, {"_id": name}, {"$setOnInsert": _begun(1)}, upsert=True)
        assert row is not None  # noqa: S101  of an upsert
        return _projection(row)

    async def standings(self) -> Sequence[Projection]:
        return [_projection(row) for row in await self._database.find(PROJECTION, {}, sort=[("_id", 1)])]

    async def read(self, name: str, generation: int, tenant: str, keys: Collection[str]) -> Mapping[str, View]:
        asked = [id_of(StateKey(tenant, name, key)) for key in keys]
        found = await self._database.find(STATE, {"_id": {"$in": asked}, "live": True}) if asked else []
        await self._current(self._database, name, generation)
        return {
            one["_id"]["key"]: View(
                one["_id"]["key"],
                int(one["version"]),
                None if one.get("generation", 1) != generation else one["data"].encode(),
                one["owner"],
            )
            for one in found
        }

    async def progress(self, name: str, generation: int, tenant: str) -> Mapping[int, int]:
        found = await self._numbers(name, tenant)
        await self._current(self._database, name, generation)
        return found

    async def apply(self, events: Applied, writes: Sequence[Write]) -> Outcome:
        async def apply(transaction: MongoTransaction) -> None:
            await self._hold(transaction, events.projection, events.generation)
            await self._advance(transaction, events)
            if writes and not all_written(await self._writer.write_in(transaction, writes, generation=events.generation)):
                raise _NotAppliedError

        try:
            await self._writer.knowing({events.projection}, apply)
        except _NotAppliedError:
            numbers = await self._numbers(events.projection, events.tenant)
            return Outcome({partition: numbers.get(partition, 0) for partition in events.ranges}, is_applied=False)
        return Outcome({partition: last for partition, (_, last) in events.ranges.items()}, is_applied=True)

    async def move(self, name: str, generation: int, position: str | None, error: str) -> None:
        said = {"error": error} if position is None else {"error": error, "position": position}
        changed = await self._database.update_one(PROJECTION, {"_id": name, "generation": generation}, {"$set": said})
        if not changed.matched:
            raise ProjectionRebuiltError(name)

    async def rebuild(self, name: str) -> Projection | None:
        async def rebuild(transaction: MongoTransaction) -> Document | None:
            row = await transaction.find_one(PROJECTION, {"_id": name})
            if row is None:
                return None
            begun = _begun(row["generation"] + 1) | {"is_rebuilding": True}
            await transaction.delete(NUMBER, {"_id.projection": name})
            return await transaction.find_and_update(PROJECTION, {"_id": name}, {"$set": begun})

        row = await self._database.transact(rebuild)
        return None if row is None else _projection(row)

    async def sweep(self, name: str, generation: int, most: int, deletion: Deletion) -> int:
        async def sweep(transaction: MongoTransaction) -> int:
            row = await self._hold(transaction, name, generation)
            (tenant, key), old, looked = row["swept"], list[Document](), 0
            while len(old) < most and not (old and looked >= _LOOKED):
                condition = {"_id": behind(tenant, name, key)}
                part = await transaction.find(STATE, condition, {"data": 0}, sort=[("_id", 1)], limit=most - len(old))
                if part:
                    key = part[-1]["_id"]["key"]
                    old += [one for one in part if one["live"] and one.get("generation", 1) != generation]
                    looked += len(part)
                    continue
                following = await next_tenant(transaction, tenant)
                if following is None:
                    break
                tenant, key = following, ""
            if not old:
                await transaction.update_one(PROJECTION, {"_id": name}, {"$set": {"is_rebuilding": False}})
                return 0
            await transaction.update_one(PROJECTION, {"_id": name}, {"$set": {"swept": [tenant, key]}})
            writes = [deletion(key_of(one["_id"]), owner=one["owner"], version=int(one["version"])) for one in old]
            await self._writer.write_in(transaction, writes, generation=generation)
            return len(old)

        return await self._writer.knowing({name}, sweep)

    async def _hold(self, transaction: MongoTransaction, name: str, generation: int) -> Document:
        """Hold the projection until the end of the transaction: the next generation begins before it, or after."""
        row = await transaction.find_and_update(PROJECTION, {"_id": name, "generation": generation}, {"$inc": {"steps": 1}})
        if row is None:
            raise ProjectionRebuiltError(name)
        return row

    async def _current(self, database: MongoManager, name: str, generation: int) -> None:
        if await database.find_one(PROJECTION, {"_id": name, "generation": generation}, {"_id": 1}) is None:
            raise ProjectionRebuiltError(name)

    async def _advance(self, transaction: MongoTransaction, events: Applied) -> None:
        for partition, (first, last) in sorted(events.ranges.items()):
            name = {"projection": events.projection, "tenant": events.tenant, "partition": partition}
            known = await transaction.find_one(NUMBER, {"_id": name})
            if known is not None and known["number"] >= first:
                raise _NotAppliedError
            await transaction.update_one(NUMBER, {"_id": name}, {"$set": {"number": Int64(last)}}, upsert=True)

    async def _numbers(self, name: str, tenant: str) -> dict[int, int]:
        found = await self._database.find(NUMBER, {"_id.projection": name, "_id.tenant": tenant})
        return {one["_id"]["partition"]: int(one["number"]) for one in found}


def _begun(generation: int) -> dict[str, Any]:
    return {
        "generation": generation,
        "position": "",
        "begun_at": Int64(micros(datetime.now(UTC))),
        "is_rebuilding": False,
        "error": "",
        "swept": ["", ""],
    }


def _projection(row: Document) -> Projection:
    return Projection(
        row["_id"], row["generation"], row["position"], from_micros(row["begun_at"]), row["is_rebuilding"], row["error"]
    )
