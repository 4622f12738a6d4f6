"""The runs in the service's own MongoDB; the clock is the primary's."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pymongo import UpdateOne
from stylobate.database.mongodb import Document, MongoManager
from stylobate.ids import new_id

from stylobate_actions.store.port import Begun, RunKey, Standing

_RUNS = "action_run"
_PRUNE_BATCH = 1000


class MongoRunLedger:
    """The port on the service's migrations; see PostgresRunLedger for what it is given."""

    def __init__(self, database: MongoManager, hold: timedelta, lifetime: timedelta) -> None:
        self._database = database
        self._hold = hold
        self._lifetime = lifetime

    async def begin(self, key: RunKey, requests: Sequence[bytes], run_id: str) -> Begun | Standing | None:
        taking = new_id()  # by it we know ours: a run that is not to be had stays what it is
        given_up = [
            {"$eq": ["$answer", None]},
            {"$lte": ["$held_until", "$$NOW"]},
            {"$in": ["$request", [*requests]]},
        ]
        is_new = {"$or": [{"$eq": [{"$type": "$token"}, "missing"]}, {"$lte": ["$expires_at", "$$NOW"]}]}
        taken = {
            "request": requests[0],
            "run_id": {"$cond": ["$is_new", run_id, "$run_id"]},
            "began_at": {"$cond": ["$is_new", "$$NOW", "$began_at"]},
            "expires_at": {"$cond": ["$is_new", _in(self._lifetime), "$expires_at"]},
            "token": {"$add": [{"$ifNull": ["$token", {"$toLong": 0}]}, 1]},
            "held_until": _in(self._hold),
            "answer": None,
            "taking": taking,
        }
        steps: list[dict[str, Any]] = [
            {"$set": {"is_new": is_new}},
            {"$set": {"is_free": {"$or": ["$is_new", {"$and": given_up}]}}},
            {"$set": {name: {"$cond": ["$is_free", value, f"${name}"]} for name, value in taken.items()}},
            {"$unset": ["is_new", "is_free"]},
        ]
        row = await self._database.find_and_update(_RUNS, {"_id": _id(key)}, steps, upsert=True)
        if row is None:
            return None
        if row["taking"] == taking:
            return Begun(int(row["token"]), row["run_id"], row["began_at"])
        return Standing(row["request"], row["answer"])

    async def renew(self, held: Sequence[tuple[RunKey, int]]) -> set[RunKey]:
        if not held:
            return set()
        still = {"answer": None, "$expr": {"$gt": ["$held_until", "$$NOW"]}}
        longer = [{"$set": {"held_until": _in(self._hold)}}]
        ours = [{"_id": _id(key), "token": token} for key, token in held]
        await self._database.bulk(_RUNS, [UpdateOne({**one, **still}, longer) for one in ours], ordered=False)
        return {_key(row) for row in await self._database.find(_RUNS, {"$or": ours, **still}, {"_id": 1})}

    async def answer(self, key: RunKey, token: int, answer: bytes) -> bool:
        return (await self._database.update_one(_RUNS, _unanswered(key, token), {"$set": {"answer": answer}})).matched > 0

    async def release(self, key: RunKey, token: int) -> None:
        await self._database.update_one(_RUNS, _unanswered(key, token), [{"$set": {"held_until": "$$NOW"}}])

    async def forget(self, key: RunKey, token: int) -> None:
        await self._database.delete(_RUNS, _unanswered(key, token))

    async def prune(self) -> int:
        is_over = {"$expr": {"$lte": ["$expires_at", "$$NOW"]}}
        rows = await self._database.find(_RUNS, is_over, {"_id": 1}, sort=[("expires_at", 1)], limit=_PRUNE_BATCH)
        if not rows:
            return 0
        return await self._database.delete(_RUNS, {"_id": {"$in": [row["_id"] for row in rows]}, **is_over})


def _in(duration: timedelta) -> dict[str, Any]:
    return {"$add": ["$$NOW", round(duration.total_seconds() * 1000)]}


def _id(key: RunKey) -> dict[str, str]:
    """Return the ``_id``: its fields are always in this order, by which MongoDB tells documents apart."""
    return key._asdict()


def _key(row: Document) -> RunKey:
    return RunKey(**row["_id"])


def _unanswered(key: RunKey, token: int) -> dict[str, Any]:
    return {"_id": _id(key), "token": token, "answer": None}
