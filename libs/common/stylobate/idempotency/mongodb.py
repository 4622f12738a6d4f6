"""The ledger in MongoDB. A key is held by a document outside the transaction, so that nobody waits for it.

The hold only tells others at once; what makes an answer the only one is its ``_id``, in the transaction. So a hold may be lost
with a primary, and needs no majority.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from pymongo import DeleteMany, UpdateOne

from stylobate.database.mongodb import DuplicateError, MongoManager, MongoTransaction
from stylobate.idempotency.errors import KeyTakenError
from stylobate.idempotency.port import Answer, Claim
from stylobate.ids import new_id

_COLLECTION, _HOLDS = "idempotency", "idempotency_hold"
_HELD = timedelta(seconds=30)
"""Longer than a transaction lasts: the hold of a process that was killed ends then."""
_BATCH = 1000


class MongoIdempotencyLedger:
    """The port on the migrations of ``stylobate.idempotency``."""

    def __init__(self, database: MongoManager) -> None:
        self._database = database

    async def find(self, claim: Claim) -> Answer | None:
        found = await self._database.find_one(_COLLECTION, {"_id": _key(claim), "expires_at": {"$gt": claim.at}})
        return None if found is None else Answer(found["request"], found["answer"])

    async def claim(self, transaction: MongoTransaction, claims: Sequence[Claim]) -> list[bool]:
        """See the port; to be the first in its transaction, so that it sees the answers of whoever held the keys before."""
        holder = new_id()
        # a statement that is cancelled may arrive behind the one that lets go: who goes away does not take it along
        holding = asyncio.create_task(self._hold(claims, holder), name="idempotency-hold")

        async def let_go() -> None:
            await asyncio.wait([holding])
            await self._database.bulk(_HOLDS, [DeleteMany({"holder": holder})], ordered=False, quickly=True)

        transaction.on_end(let_go)
        held = await asyncio.shield(holding)
        keys = [_key(claim) for claim in claims]
        answered = await transaction.find(_COLLECTION, {"_id": {"$in": keys}}, {"expires_at": 1})
        until = {tuple(one["_id"].values()): one["expires_at"] for one in answered}
        ours, seen = [], set[tuple[str, ...]]()
        for claim, key in zip(claims, keys, strict=True):
            name = tuple(key.values())
            has_answer = name in until and until[name] > claim.at
            ours.append(name in held and name not in seen and not has_answer)
            seen.add(name)
        return ours

    async def _hold(self, claims: Sequence[Claim], holder: str) -> set[tuple[str, ...]]:
        """Take the keys that nobody holds; return them."""
        is_free = {"$lte": ["$until", "$$NOW"]}  # one that is missing is less than every time
        until = {"$add": ["$$NOW", round(_HELD.total_seconds() * 1000)]}
        taking: list[dict[str, Any]] = [
            {"$set": {"is_free": is_free}},
            {
                "$set": {
                    "holder": {"$cond": ["$is_free", holder, "$holder"]},
                    "until": {"$cond": ["$is_free", until, "$until"]},
                }
            },
            {"$unset": "is_free"},
        ]
        keys = [_key(claim) for claim in claims]
        writes = [UpdateOne({"_id": key}, taking, upsert=True) for key in keys]
        with suppress(DuplicateError):  # two took one key for the first time at this moment: who lost is told below
            await self._database.bulk(_HOLDS, writes, ordered=False, quickly=True)
        found = await self._database.find(_HOLDS, {"_id": {"$in": keys}, "holder": holder}, {"_id": 1}, newest=True)
        return {tuple(one["_id"].values()) for one in found}

    async def answer(self, transaction: MongoTransaction, results: Sequence[tuple[Claim, object]]) -> None:
        if not results:
            return
        now = min(claim.at for claim, _ in results)
        writes = [
            UpdateOne(
                {"_id": _key(claim), "expires_at": {"$lte": now}},
                {"$set": {"request": claim.request, "answer": claim.encode(result), "expires_at": claim.expires_at}},
                upsert=True,
            )
            for claim, result in results
        ]
        try:
            await transaction.bulk(_COLLECTION, writes)
        except DuplicateError as error:
            raise KeyTakenError from error

    async def prune(self, now: datetime) -> int:
        old = await self._database.find(
            _COLLECTION, {"expires_at": {"$lte": now}}, {"_id": 1}, sort=[("expires_at", 1)], limit=_BATCH
        )
        gone = {"_id": {"$in": [one["_id"] for one in old]}, "expires_at": {"$lte": now}}
        return await self._database.delete(_COLLECTION, gone) if old else 0


def _key(claim: Claim) -> dict[str, Any]:
    """Return the ``_id``: its fields are always in this order, by which MongoDB tells documents apart."""
    return {"tenant": claim.tenant, "caller": claim.caller, "method": claim.method, "key": claim.key}
