"""Timers in MongoDB: a collection of due times beside the objects."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import Int64
from bson.max_key import MaxKey
from pymongo import UpdateOne
from stylobate.database.mongodb import Document, MongoManager, MongoTransaction, from_micros, micros

from stylobate_state.model import Timer, TimerStart
from stylobate_state.store.mongodb.documents import STATE, TIMER, id_of, key_of, queued, state_of, timer_of
from stylobate_state.store.mongodb.fence import knowing
from stylobate_state.store.timers import DueTimer, DueTimers, Filled

FILL = "state_timer_fill"
_AGAIN = timedelta(minutes=10)
"""A second pass, so long after the first, finds what a process with older declarations has let in meanwhile."""
_MOST_TRIES = 30_000
_MICROSECOND = timedelta(microseconds=1)


class MongoTimerStore:
    """A TimerStore in the service's database. What is due is so by this process's clock."""

    def __init__(self, database: MongoManager) -> None:
        self._database = database

    async def due(self, limit: int) -> DueTimers:
        now = _now()
        found = await self._database.find(TIMER, {"due_at": {"$lte": Int64(now)}}, sort=[("due_at", 1)], limit=limit)
        owners = await self._owners(found)
        timers = [_due(one, owners, now) for one in found]
        if len(timers) == limit:
            return DueTimers(timers, timedelta())
        following = await self._database.find_one(TIMER, {}, {"due_at": 1}, sort=[("due_at", 1)]) if not timers else None
        return DueTimers(timers, (following["due_at"] - _now()) * _MICROSECOND if following is not None else None)

    async def put_off(self, timers: Sequence[DueTimer], by: timedelta) -> None:
        due = Int64(_now() + by // _MICROSECOND)
        tries = {"$min": [{"$add": ["$tries", 1]}, _MOST_TRIES]}
        changes: list[Any] = [UpdateOne({"_id": _name(timer)}, [{"$set": {"due_at": due, "tries": tries}}]) for timer in timers]
        await self._database.bulk(TIMER, changes, ordered=False)

    async def spend(self, timers: Sequence[DueTimer]) -> None:
        if not timers:
            return

        async def spend(transaction: MongoTransaction, generation: int) -> None:
            spent = {(timer.key, timer.event, timer.since) for timer in timers}
            keys = sorted({timer.key for timer in timers})
            found = await transaction.find(STATE, {"_id": {"$in": [id_of(key) for key in keys]}, "timers": {"$ne": []}})
            changes = []
            for one in found:
                key = key_of(one["_id"])
                kept = [
                    timer | ({"at": None} if (key, timer["event"], timer["since"]) in spent else {}) for timer in one["timers"]
                ]
                changes.append(UpdateOne({"_id": one["_id"]}, {"$set": {"timers": kept, "known": Int64(generation)}}))
            await transaction.bulk(STATE, changes, ordered=False)
            await transaction.delete(TIMER, {"_id": {"$in": [_name(timer) for timer in timers]}})

        await knowing(self._database, {timer.key.namespace for timer in timers}, spend)

    async def fill(self, namespace: str, status: str, start: TimerStart, limit: int) -> Filled:
        name = {"namespace": namespace, "status": status, "event": start.event}

        async def fill(transaction: MongoTransaction, generation: int) -> Filled:
            standing = await transaction.find_and_update(
                FILL,
                {"_id": name},
                {"$inc": {"steps": 1}, "$setOnInsert": {"at": None, "done_at": None, "passes": 0}},
                upsert=True,
            )
            assert standing is not None  # noqa: S101  of an upsert
            place = standing["at"]
            if standing["done_at"] is not None:
                if standing["passes"] != 1 or standing["done_at"] > _now() - _AGAIN // _MICROSECOND:
                    return Filled(0, is_done=True)
                place = None
            # the next documents by their keys, whatever namespace they are of, so that no step is long
            behind = {} if place is None else {"_id": {"$gt": place}}
            part = await transaction.find(STATE, behind, sort=[("_id", 1)], limit=limit)
            given = [one for one in part if _waits(one, namespace, status, start.event)]
            at = _now() + start.after // _MICROSECOND
            changes, entries = [], []
            for one in given:
                timer = Timer(start.event, from_micros(at), one["version"])
                said = {"$push": {"timers": timer_of(timer)}, "$set": {"known": Int64(generation)}}
                changes.append(UpdateOne({"_id": one["_id"]}, said))
                entries.append({"_id": queued(state_of(one).key, timer), "due_at": Int64(at), "tries": 0})
            await transaction.bulk(STATE, changes, ordered=False)
            await transaction.insert(TIMER, entries)
            is_done = len(part) < limit
            await transaction.update_one(
                FILL,
                {"_id": name},
                {
                    "$set": {"at": part[-1]["_id"] if part else place, "done_at": Int64(_now()) if is_done else None},
                    "$inc": {"passes": int(is_done)},
                },
            )
            return Filled(len(given), is_done=is_done)

        return await knowing(self._database, {namespace}, fill)

    async def forget_fills(self, namespace: str, declared: Sequence[tuple[str, str]]) -> None:
        kept = [{"namespace": namespace, "status": status, "event": event} for status, event in declared]
        of_it = {"$gte": {"namespace": namespace, "status": ""}, "$lt": {"namespace": namespace, "status": MaxKey()}}
        await self._database.delete(FILL, {"_id": {**of_it, "$nin": kept}})

    async def _owners(self, found: Sequence[Document]) -> dict[tuple[str, str, str], str]:
        keys = sorted({key_of(one["_id"]) for one in found})
        there = await self._database.find(STATE, {"_id": {"$in": [id_of(key) for key in keys]}}, {"owner": 1}) if keys else []
        return {key_of(one["_id"]): one["owner"] for one in there}


def _due(found: Document, owners: dict[tuple[str, str, str], str], now: int) -> DueTimer:
    key = key_of(found["_id"])
    late = (now - found["due_at"]) * _MICROSECOND
    return DueTimer(key, found["_id"]["event"], int(found["_id"]["since"]), owners.get(key, ""), late, found["tries"])


def _waits(found: Document, namespace: str, status: str, event: str) -> bool:
    """Return whether an object stands in the status without the timer."""
    is_there = found["live"] and found["_id"]["namespace"] == namespace and found["status"] == status
    return is_there and all(timer["event"] != event for timer in found["timers"])


def _name(timer: DueTimer) -> dict[str, Any]:
    return queued(timer.key, Timer(timer.event, None, timer.since))


def _now() -> int:
    return micros(datetime.now(UTC))
