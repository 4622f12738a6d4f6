"""Giving events their places in the log: one transaction for a batch, fenced by the relay's lease token.

Waiting events are taken with the lowest versions first. Of one subject a version is written by a transaction that saw the one
before committed, so whoever sees a version sees those before it: they are in this batch, or have their numbers. Between subjects
there is no order to keep, so no counter is needed that all writers share.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import repeat
from operator import itemgetter
from time import monotonic
from typing import Any

from bson.int64 import Int64

from stylobate.database.mongodb import Document, MongoManager, MongoTransaction, from_micros
from stylobate.database.mongodb.faults import unavailable
from stylobate.outbox.event import Event, LoggedEvent
from stylobate.outbox.mongodb.outbox import EVENTS
from stylobate.outbox.port import BATCH

HEAD, EPOCHS = "outbox_head", "outbox_epoch"
THE_HEAD = {"_id": "head"}
_ORIGIN_EVERY_S = 5.0
_UPDATE_BYTES = 200


def logged_event(row: Mapping[str, Any]) -> LoggedEvent:
    """Make one from a document with a number."""
    event = Event(
        row["_id"],
        row["source"],
        row["type"],
        row["subject"],
        from_micros(row["time"]),
        row["tenant"],
        row["data"].encode(),
        row["actor"],
        row["depth"],
        row["traceparent"],
        row.get("aside", "").encode(),
    )
    return LoggedEvent(event, row["partition"], int(row["number"]))


class MongoNumbering:
    """The port on the service's own database; processes tell each other by a change stream."""

    def __init__(self, database: MongoManager, source: str) -> None:
        self._database = database
        self._channel = f"outbox_{source}"
        self._looked_at = -_ORIGIN_EVERY_S
        self._is_moved = False

    async def claim(self, token: int) -> bool:
        mine = await self._database.update_one(HEAD, {**THE_HEAD, "token": {"$lte": token}}, {"$set": {"token": Int64(token)}})
        return mine.matched > 0

    async def number(self, token: int) -> list[LoggedEvent] | None:
        if await self._has_moved(token):
            return None
        # of one moment, as of a transaction: who sees a version sees those before it
        rows = await self._database.find(
            EVENTS, {"waiting": True}, sort=[("version", 1)], limit=BATCH, hint="outbox_event_waiting", of_one_moment=True
        )
        return await self._database.transact(lambda transaction: _number(transaction, token, rows)) if rows else []

    async def settle(self, token: int, epoch: str) -> str:
        here = await self._origin()

        async def work(transaction: MongoTransaction) -> str:
            head = await transaction.find_one(HEAD, {**THE_HEAD, "token": token})
            if head is None or head["origin"] == here:
                return ""
            if not head["origin"]:
                await transaction.update_one(HEAD, THE_HEAD, {"$set": {"origin": here}})
                return ""
            reason = f"the database was {head['origin']} before"
            await _begin(transaction, head, epoch, reason=reason, shared=head["numbers"], here=here)
            return epoch

        return await self._database.transact(work)

    async def begin(self, epoch: str, reason: str, *, token: int | None = None, starts: Mapping[int, int] | None = None) -> bool:
        here = await self._origin()

        async def work(transaction: MongoTransaction) -> bool:
            head = await transaction.find_one(HEAD, THE_HEAD if token is None else {**THE_HEAD, "token": token})
            if head is None:
                return False
            shared = [min(end, (starts or {}).get(partition, end)) for partition, end in enumerate(head["numbers"])]
            await _begin(transaction, head, epoch, reason=reason, shared=shared, here=here)
            return True

        return await self._database.transact(work)

    @asynccontextmanager
    async def listen(self, callback: Callable[[], None]) -> AsyncIterator[None]:
        listening = await self._database.listen(self._channel, lambda _payload: callback())
        try:
            yield
        finally:
            await listening.close()

    async def tell(self) -> None:
        await self._database.notify(self._channel)

    async def _has_moved(self, token: int) -> bool:
        """Return whether this is not the database in which the epoch was begun; looked at now and then."""
        if self._is_moved or monotonic() - self._looked_at >= _ORIGIN_EVERY_S:
            here = await self._origin()
            mine = {**THE_HEAD, "token": token, "origin": {"$nin": [here, ""]}}
            self._is_moved = await self._database.find_one(HEAD, mine, {"_id": 1}) is not None
            self._looked_at = monotonic()
        return self._is_moved

    async def _origin(self) -> str:
        """Return which database this is: restoring a dump makes the collection anew, with another id."""
        found = await self._database.command({"listCollections": 1, "filter": {"name": HEAD}})
        return f"{self._database.name}/{found['cursor']['firstBatch'][0]['info']['uuid'].hex()}"


async def _number(transaction: MongoTransaction, token: int, rows: Sequence[Document]) -> list[LoggedEvent]:
    """Give waiting events the numbers behind the ends of the log, which are moved: nobody who was overtaken does anything."""
    counts = Counter(row["partition"] for row in rows)
    moved = {"$inc": {f"numbers.{partition}": Int64(count) for partition, count in counts.items()}}
    head = await transaction.find_and_update(HEAD, {**THE_HEAD, "token": token}, moved, before=True)
    if head is None:
        return []
    numbers, updates = list(head["numbers"]), list[Document]()
    for row in rows:
        numbers[row["partition"]] += 1
        row["number"] = Int64(numbers[row["partition"]])
        change = {"$set": {"number": row["number"]}, "$unset": {"waiting": ""}}
        updates.append({"q": {"_id": row["_id"], "waiting": True}, "u": change})
    if await transaction.write_each(EVENTS, "update", updates, repeat(_UPDATE_BYTES, len(rows)), ordered=False) < len(rows):
        raise unavailable(LookupError("events that wait were numbered by another"))
    return [logged_event(row) for row in sorted(rows, key=itemgetter("partition", "number"))]


async def _begin(transaction: MongoTransaction, head: Document, epoch: str, *, reason: str, shared: list[int], here: str) -> None:
    last = await transaction.find_one(EPOCHS, {}, sort=[("_id", -1)])
    begun = {
        "_id": Int64(1 if last is None else last["_id"] + 1),
        "epoch": epoch,
        "starts": [Int64(start) for start in shared],
        "origin": here,
        "reason": reason,
    }
    await transaction.insert(EPOCHS, [begun])
    await transaction.update_one(HEAD, {**THE_HEAD, "token": head["token"]}, {"$set": {"epoch": epoch, "origin": here}})
