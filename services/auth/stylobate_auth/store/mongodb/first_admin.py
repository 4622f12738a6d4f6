"""The first administrator's invitation in MongoDB: what the store and its transactions do with it."""

from datetime import datetime
from typing import Any

from stylobate.database.mongodb import MongoManager, MongoTransaction, micros

_COLLECTION = "first_admin_invitation"


class MongoFirstAdminChanges:
    """The part of a transaction."""

    _transaction: MongoTransaction

    async def put_invitation(self, tenant: str, token_hash: bytes, expires_at: datetime) -> None:
        change = {"$set": {"token_hash": token_hash, "expires_at": micros(expires_at)}}
        await self._transaction.update_one(_COLLECTION, {"_id": tenant}, change, upsert=True)

    async def take_invitation(self, tenant: str, token_hash: bytes, now: datetime) -> bool:
        return await self._transaction.delete(_COLLECTION, _good(tenant, token_hash, now)) > 0


class MongoFirstAdmins:
    """The part of the store."""

    _database: MongoManager

    async def has_invitation(self, tenant: str, token_hash: bytes, now: datetime) -> bool:
        return await self._database.find_one(_COLLECTION, _good(tenant, token_hash, now)) is not None


def _good(tenant: str, token_hash: bytes, now: datetime) -> dict[str, Any]:
    return {"_id": tenant, "token_hash": token_hash, "expires_at": {"$gt": micros(now)}}
