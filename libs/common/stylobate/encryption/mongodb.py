"""Data keys in the service's own database; the clock is that of its primary."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

from stylobate.database.mongodb import Document, DuplicateError, MongoManager
from stylobate.encryption.port import KeptKey

_COLLECTION = "data_key"
_AGED = {"$set": {"age": {"$max": [{"$subtract": ["$$NOW", "$created_at"]}, 0]}}}


class MongoDataKeyStore:
    """The port on the migrations of ``stylobate.encryption``."""

    def __init__(self, database: MongoManager) -> None:
        self._database = database

    async def newest(self, purpose: str) -> KeptKey | None:
        found = await self._found({"purpose": purpose}, {"$sort": {"generation": -1}}, {"$limit": 1})
        return found[0] if found else None

    async def find(self, ids: Collection[str]) -> Sequence[KeptKey]:
        return await self._found({"_id": {"$in": [*ids]}})

    async def all(self) -> Sequence[KeptKey]:
        return await self._found({}, {"$sort": {"purpose": 1, "generation": 1}})

    async def add(self, key: KeptKey) -> bool:
        values = {"purpose": key.purpose, "generation": key.generation, "sealed": key.sealed, "sealed_by": key.sealed_by}
        stored = {name: {"$literal": value} for name, value in values.items()} | {"created_at": "$$NOW"}
        try:
            await self._database.update_one(_COLLECTION, {"_id": key.id}, [{"$set": stored}], upsert=True)
        except DuplicateError:
            return False
        return True

    async def replaced(self, purpose: str, below: int) -> None:
        before = {"purpose": purpose, "generation": {"$lt": below}, "replaced_at": None}
        await self._database.update_many(_COLLECTION, before, [{"$set": {"replaced_at": "$$NOW"}}])

    async def reseal(self, id_: str, sealed_by: str, sealed: bytes, now_by: str) -> None:
        change = {"$set": {"sealed": sealed, "sealed_by": now_by}}
        await self._database.update_one(_COLLECTION, {"_id": id_, "sealed_by": sealed_by}, change)

    async def _found(self, asked: Mapping[str, Any], *steps: Mapping[str, Any]) -> list[KeptKey]:
        return [*map(_key_of, await self._database.aggregate(_COLLECTION, [{"$match": asked}, *steps, _AGED]))]


def _key_of(document: Document) -> KeptKey:
    return KeptKey(
        id=document["_id"],
        purpose=document["purpose"],
        generation=document["generation"],
        sealed=document["sealed"],
        sealed_by=document["sealed_by"],
        created_at=document["created_at"],
        age=timedelta(milliseconds=document["age"]),
        is_replaced="replaced_at" in document,
    )
