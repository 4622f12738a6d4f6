"""Where namespaces stand, in MongoDB."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from bson import Int64
from stylobate.database.mongodb import MongoManager, MongoTransaction, micros
from stylobate.ids import new_id
from stylobate.outbox.mongodb import MongoEventLog, MongoNumbering

from stylobate_state.store.mongodb.fence import PLACE, MongoFence, has_objects


class MongoPlaceStore:
    """A PlaceStore in the service's database."""

    def __init__(self, database: MongoManager, source: str) -> None:
        self._database = database
        self._source = source
        self._fence = MongoFence(database)

    async def elsewhere(self) -> Mapping[str, str]:
        rows = await self._database.find(PLACE, {"elsewhere": {"$ne": None}})
        return {row["_id"]: row["elsewhere"] for row in rows}

    async def moving(self) -> Collection[str]:
        return {row["_id"] for row in await self._database.find(PLACE, {"is_moving": True})}

    async def has(self, namespace: str) -> bool:
        row = await self._database.find_one(PLACE, {"_id": namespace})
        return row is not None and row["elsewhere"] is None

    async def opening(self, namespace: str) -> Sequence[int]:
        row = await self._database.find_one(PLACE, {"_id": namespace})
        return [] if row is None else [int(number) for number in row["opening"]]

    async def take(self, namespace: str) -> None:
        log = MongoEventLog(self._database, self._source)
        if not (await log.head()).epoch:  # as in every new log: a position of the log where the namespace stood before would fit
            await MongoNumbering(self._database, self._source).begin(new_id(), "a namespace came here")
        opening = [Int64(number) for number in (await log.head()).numbers]

        async def take(transaction: MongoTransaction) -> bool:
            row = await transaction.find_one(PLACE, {"_id": namespace})
            if row is not None and row["elsewhere"] is None:
                return False
            said = {"elsewhere": None, "opening": opening, "is_moving": False, "noted_at": _now()}
            await transaction.update_one(PLACE, {"_id": namespace}, {"$set": said}, upsert=True)
            return row is not None

        if await self._database.transact(take):
            await self._fence.close()

    async def give(self, namespace: str, database: str, *, with_objects: bool, is_moving: bool = False) -> bool:
        before = await self._database.find_one(PLACE, {"_id": namespace})
        is_known = before is not None and before["elsewhere"] is not None
        if not with_objects and await has_objects(self._database, namespace):
            return False

        async def give(transaction: MongoTransaction) -> None:
            row = await transaction.find_one(PLACE, {"_id": namespace})
            is_same = row is not None and row["elsewhere"] == database
            if row is not None and is_same and not (row["is_moving"] and not is_moving):
                return
            said = {"elsewhere": database, "opening": None, "is_moving": is_moving and not is_same, "noted_at": _now()}
            await transaction.update_one(PLACE, {"_id": namespace}, {"$set": said}, upsert=True)

        await self._database.transact(give)
        await self._fence.close()  # waits until whoever writes has ended; what they wrote is there to be seen then
        if with_objects or is_known or not await has_objects(self._database, namespace):
            return True
        if before is None:
            await self._database.delete(PLACE, {"_id": namespace})
        else:
            await self._database.update_one(PLACE, {"_id": namespace}, {"$set": before})
        await self._fence.close()
        return False


def _now() -> Int64:
    return Int64(micros(datetime.now(UTC)))
