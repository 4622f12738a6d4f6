"""Leases in the service's own database; the clock is that of its primary."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from stylobate.database.mongodb import MongoManager
from stylobate.ids import new_id
from stylobate.leases.port import LeaseStanding

_COLLECTION = "lease"


class MongoLeaseStore:
    """The port on the migrations of ``stylobate.leases``."""

    def __init__(self, database: MongoManager) -> None:
        self._database = database

    async def acquire(self, name: str, holder: str, ttl: timedelta) -> int | None:
        taking = new_id()  # by it we know ours among the answers: a lease that is held stays what it is
        ended, far = {"$lte": ["$until", "$$NOW"]}, {"$gt": ["$until", _in(2 * ttl)]}
        is_free = {"$or": [{"$eq": [{"$type": "$token"}, "missing"]}, ended, far]}
        taken = {
            "holder": {"$literal": holder},
            "token": {"$add": [{"$ifNull": ["$token", {"$toLong": 0}]}, 1]},
            "until": _in(ttl),
            "taking": taking,
        }
        changes: dict[str, Any] = {field: {"$cond": ["$is_free", value, f"${field}"]} for field, value in taken.items()}
        steps: list[dict[str, Any]] = [{"$set": {"is_free": is_free}}, {"$set": changes}, {"$unset": "is_free"}]
        found = await self._database.find_and_update(_COLLECTION, {"_id": name}, steps, upsert=True)
        return int(found["token"]) if found is not None and found["taking"] == taking else None

    async def renew(self, holder: str, tokens: Mapping[str, int], ttl: timedelta) -> set[str]:
        if await self._renewed(holder, tokens, ttl) == len(tokens):
            return set(tokens)
        # the answer does not say which are lost
        return {name for name, token in tokens.items() if await self._renewed(holder, {name: token}, ttl)}

    async def _renewed(self, holder: str, tokens: Mapping[str, int], ttl: timedelta) -> int:
        alive = {"holder": holder, "$expr": {"$gt": ["$until", "$$NOW"]}}
        ours = {**alive, "$or": [{"_id": name, "token": token} for name, token in tokens.items()]}
        return (await self._database.update_many(_COLLECTION, ours, [{"$set": {"until": _in(ttl)}}])).matched

    async def release(self, name: str, holder: str, token: int) -> None:
        ours = {"_id": name, "holder": holder, "token": token}
        await self._database.update_one(_COLLECTION, ours, [{"$set": {"until": "$$NOW"}}])

    async def standing(self, name: str) -> LeaseStanding | None:
        left = {"$subtract": ["$until", "$$NOW"]}
        found = await self._database.aggregate(
            _COLLECTION, [{"$match": {"_id": name}}, {"$project": {"holder": 1, "remaining": left}}]
        )
        return LeaseStanding(found[0]["holder"], timedelta(milliseconds=found[0]["remaining"])) if found else None


def _in(duration: timedelta) -> dict[str, Any]:
    return {"$add": ["$$NOW", round(duration.total_seconds() * 1000)]}
