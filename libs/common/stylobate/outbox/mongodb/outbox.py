"""Writing events: in the transaction of the change that they tell of."""

from collections.abc import Sequence

from bson.int64 import Int64
from pymongo import UpdateOne

from stylobate.database.batches import lock_key
from stylobate.database.mongodb import Document, DuplicateError, MongoTransaction, micros
from stylobate.outbox.errors import EventWrittenError
from stylobate.outbox.event import Event

EVENTS, SLOTS = "outbox_event", "outbox_slot"
_SLOTS = 4096
"""Documents that order the events of subjects without a version of their own; two subjects on one only wait for each other."""


class MongoOutbox:
    """The port on the service's own database.

    :param source: the service's name, the ``source`` of every event.
    """

    def __init__(self, source: str) -> None:
        self._source = source

    async def append(
        self, transaction: MongoTransaction, events: Sequence[Event], *, stream: str, version: int | None = None
    ) -> None:
        if not isinstance(transaction, MongoTransaction) or not transaction.is_open:
            raise ValueError("events are appended inside a transaction")
        if version is not None and len({(event.tenant, event.subject) for event in events}) > 1:
            raise ValueError("one version counts for one subject")
        if not events:
            return
        if version is None:
            versions = await self._drawn(transaction, events, stream)
        else:
            versions = list(range(version, version + len(events)))
        documents = [
            event_document(event, source=self._source, stream=stream, version=number)
            for event, number in zip(events, versions, strict=True)
        ]
        try:
            await transaction.insert(EVENTS, documents)
        except DuplicateError as error:
            raise EventWrittenError(f"a version of {stream} {events[0].subject}, or the event, was written already") from error

    async def _drawn(self, transaction: MongoTransaction, events: Sequence[Event], stream: str) -> list[int]:
        """Return a version for each event, above all that its subject has; others that draw for the subject wait for our end."""
        slots = [lock_key(b"outbox", self._source, stream, event.tenant, event.subject) % _SLOTS for event in events]
        counts = {slot: slots.count(slot) for slot in sorted(set(slots))}
        if len(counts) == 1:  # as nearly always: one message less
            ((slot, count),) = counts.items()
            drawn = await transaction.find_and_update(SLOTS, {"_id": slot}, {"$inc": {"drawn": Int64(count)}}, upsert=True)
            end = int(drawn["drawn"]) if drawn is not None else count
            return list(range(end - count + 1, end + 1))
        drawing = [UpdateOne({"_id": slot}, {"$inc": {"drawn": Int64(count)}}, upsert=True) for slot, count in counts.items()]
        await transaction.bulk(SLOTS, drawing)
        ends = {one["_id"]: one["drawn"] for one in await transaction.find(SLOTS, {"_id": {"$in": list(counts)}})}
        following = {slot: ends[slot] - count for slot, count in counts.items()}
        versions = []
        for slot in slots:
            following[slot] += 1
            versions.append(following[slot])
        return versions


def event_document(event: Event, *, source: str, stream: str, version: int) -> Document:
    """Return the document of an event that waits for its number."""
    found: Document = {
        "_id": event.id,
        "tenant": event.tenant,
        "partition": event.partition,
        "stream": stream,
        "subject": event.subject,
        "version": Int64(version),
        "type": event.type,
        "source": source,
        "time": Int64(micros(event.time)),
        "actor": event.actor,
        "depth": event.depth,
        "traceparent": event.traceparent,
        "data": event.data.decode(),
        "waiting": True,
    }
    if event.aside:
        found["aside"] = event.aside.decode()
    return found
