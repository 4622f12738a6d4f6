"""Where namespaces stand, in MongoDB."""

from collections.abc import Mapping
from datetime import UTC, datetime

from bson import Int64
from stylobate.database.mongodb import MongoManager, MongoTransaction, micros

from stylobate_state.store.mongodb.fence import PLACE, MongoFence, has_objects
from stylobate_state.store.places import Place


class MongoPlaceStore:
    """A PlaceStore in the service's database.

    What is noted counts once the validator of the objects says it too (``is_held``). A change of that waits for whatever is under
    way in the collection, so it is made once.
    """

    def __init__(self, database: MongoManager) -> None:
        self._database = database
        self._fence = MongoFence(database)

    async def said(self) -> Mapping[str, Place]:
        rows = await self._database.find(PLACE, {})
        return {row["_id"]: Place(row["elsewhere"], row["is_moving"], row.get("move", "")) for row in rows}

    async def give(self, namespace: str, database: str, *, with_objects: bool, move: str = "") -> bool:
        before = await self._database.find_one(PLACE, {"_id": namespace})
        is_known = before is not None and before["elsewhere"] is not None
        if not with_objects and await has_objects(self._database, namespace):
            return False

        async def give(transaction: MongoTransaction) -> None:
            row = await transaction.find_one(PLACE, {"_id": namespace})
            if (
                row is not None
                and row["elsewhere"] is not None
                and (move or (row["elsewhere"] == database and not row["is_moving"]))
            ):
                return
            await _note(transaction, namespace, database, move=move, is_moving=bool(move))

        await self._database.transact(give)
        await self._hold(namespace)  # waits until whoever writes has ended; what they wrote is there to be seen then
        if with_objects or is_known or not await has_objects(self._database, namespace):
            return True
        if before is None:
            await self._database.delete(PLACE, {"_id": namespace})
        else:
            await self._database.update_one(PLACE, {"_id": namespace}, {"$set": before})
        await self._fence.close()
        return False

    async def expect(self, namespace: str, source: str) -> bool:
        async def expect(transaction: MongoTransaction) -> bool:
            row = await transaction.find_one(PLACE, {"_id": namespace})
            if row is None:
                await _note(transaction, namespace, source)
            return row is None or row["elsewhere"] is not None

        if not await self._database.transact(expect):
            return False
        await self._hold(namespace)
        return True

    async def refuse(self, namespace: str) -> bool:
        away = {"_id": namespace, "elsewhere": {"$ne": None}}
        await self._database.update_one(PLACE, away, {"$set": {"move": ""}})
        return await self._database.find_one(PLACE, {"_id": namespace, "elsewhere": None}) is None

    async def take(self, namespace: str, move: str | None = None) -> bool:
        async def take(transaction: MongoTransaction) -> bool:
            row = await transaction.find_one(PLACE, {"_id": namespace})
            if row is not None and row["elsewhere"] is None:
                return True
            if move is not None and (row is None or row.get("move", "") != move):
                return False
            await _note(transaction, namespace, None)
            return True

        is_here = await self._database.transact(take)
        if is_here:
            await self._hold(namespace)
        return is_here

    async def _hold(self, namespace: str) -> None:
        """Have every write held to what is noted."""
        row = await self._database.find_one(PLACE, {"_id": namespace})
        if row is None or not row.get("is_held", False):
            await self._fence.close()
            if row is not None:
                await self._database.update_one(
                    PLACE, {"_id": namespace, "noted_at": row["noted_at"]}, {"$set": {"is_held": True}}
                )


async def _note(
    transaction: MongoTransaction, namespace: str, elsewhere: str | None, *, move: str = "", is_moving: bool = False
) -> None:
    now = Int64(micros(datetime.now(UTC)))
    said = {"elsewhere": elsewhere, "is_moving": is_moving, "move": move, "noted_at": now, "is_held": False}
    await transaction.update_one(PLACE, {"_id": namespace}, {"$set": said}, upsert=True)
