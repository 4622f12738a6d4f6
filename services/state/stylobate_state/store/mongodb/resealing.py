"""Other ciphertext in the place of what stands there, in MongoDB."""

from collections.abc import Sequence
from typing import Any

from bson import Int64
from pymongo import UpdateOne
from stylobate.database.mongodb import MongoManager, MongoTransaction

from stylobate_state.model import StateKey
from stylobate_state.store.mongodb.documents import EVENT, STATE, id_of
from stylobate_state.store.mongodb.events import at
from stylobate_state.store.mongodb.fence import knowing
from stylobate_state.store.resealing import EventPlace, EventText, ObjectText


class MongoResealStore:
    """A ResealStore in the service's database."""

    def __init__(self, database: MongoManager) -> None:
        self._database = database

    async def replace_objects(self, objects: Sequence[ObjectText]) -> int:
        """See ResealStore."""
        if not objects:
            return 0

        async def replace(transaction: MongoTransaction, generation: int) -> int:
            known = {"known": Int64(generation)}
            changes: list[Any] = [
                UpdateOne(
                    {"_id": id_of(one.key), "version": Int64(one.version), "live": True},
                    {"$set": {"data": one.data.decode()} | known},
                )
                for one in objects
            ]
            return (await transaction.bulk(STATE, changes, ordered=False)).matched

        return await knowing(self._database, {one.key.namespace for one in objects}, replace)

    async def events(self, namespace: str, after: EventPlace, most: int) -> Sequence[EventText]:
        """See ResealStore."""
        tenant, subject, version = after
        order = [("subject", 1), ("version", 1)]
        while True:
            behind = {"$or": [{"subject": {"$gt": subject}}, {"subject": subject, "version": {"$gt": Int64(version)}}]}
            condition = {"tenant": tenant, "stream": namespace} | behind
            found = await self._database.find(EVENT, condition, sort=order, limit=most) if tenant else []
            if found:
                return [
                    EventText(0, StateKey(one["tenant"], namespace, one["subject"]), int(one["version"]), one["data"].encode())
                    for one in found
                ]
            following = await self._database.find_one(EVENT, {"tenant": {"$gt": tenant}}, {"tenant": 1}, sort=[("tenant", 1)])
            if following is None:
                return ()
            tenant, subject, version = following["tenant"], "", 0

    async def replace_events(self, events: Sequence[tuple[EventText, bytes]]) -> int:
        """See ResealStore. What was taken away for good meanwhile does not come back."""
        changes: list[Any] = [
            UpdateOne(
                at(one.key) | {"version": Int64(one.version), "data": one.data.decode()},
                {"$set": {"data": new.decode()}},
            )
            for one, new in events
        ]
        return (await self._database.bulk(EVENT, changes, ordered=False)).matched
