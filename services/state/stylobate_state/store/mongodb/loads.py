"""One database's part in a move, in MongoDB."""

from collections.abc import Sequence
from typing import Any

from bson import Int64
from pymongo import UpdateOne
from stylobate.database.mongodb import Document, MongoManager, MongoTransaction, from_micros, micros
from stylobate.outbox import Event

from stylobate_state.errors import StateMovedError
from stylobate_state.model import StateKey, StateRecord
from stylobate_state.store.mongodb.documents import (
    EVENT,
    OBJECT_BYTES,
    STATE,
    TIMER,
    behind,
    id_of,
    key_of,
    members_of,
    queued,
)
from stylobate_state.store.mongodb.events import told_document
from stylobate_state.store.mongodb.fence import PLACE, knowing, next_tenant
from stylobate_state.store.mongodb.forgetting import blank
from stylobate_state.store.mongodb.indexes import ENTRY, INDEX
from stylobate_state.store.mongodb.projections import NUMBER, PROJECTION
from stylobate_state.store.moving import Arrival, KeptAnswer, MovedProjection, Told, ViewNumber

_BYTES = 8 * 1024 * 1024
"""About how much the events of one step have of data."""
_ANSWERS = "idempotency"
_HEAD, _THE_HEAD = "outbox_head", {"_id": "head"}
_AWAY = {"elsewhere": {"$ne": None}, "is_moving": False}
_NAMES = ("tenant", "caller", "method", "key")


class MongoLoadStore:
    """A LoadStore in the service's database."""

    def __init__(self, database: MongoManager) -> None:
        self._database = database

    async def keys(self, namespace: str, after: StateKey | None, most: int) -> Sequence[StateKey]:
        tenant, key = (await next_tenant(self._database, ""), "") if after is None else (after.tenant, after.key)
        while tenant is not None:
            condition = {"_id": behind(tenant, namespace, key)}
            if found := await self._database.find(STATE, condition, {"_id": 1}, sort=[("_id", 1)], limit=most):
                return [key_of(one["_id"]) for one in found]
            tenant, key = await next_tenant(self._database, tenant), ""
        return ()

    async def told(self, keys: Sequence[StateKey], after: tuple[str, int], most: int) -> Sequence[Told]:
        tenant, namespace, _ = keys[0]
        subject, version = after
        condition: Document = {"tenant": tenant, "stream": namespace, "subject": {"$in": [key.key for key in keys]}}
        condition["$or"] = [{"subject": {"$gt": subject}}, {"subject": subject, "version": {"$gt": Int64(version)}}]
        order = [("subject", 1), ("version", 1)]
        sizes: list[Document] = [
            {"$match": condition}, {"$sort": dict(order)}, {"$limit": most},
            {"$project": {"_id": 1, "size": {"$strLenBytes": "$data"}}},
        ]  # fmt: skip
        wanted, used = [], 0
        for one in await self._database.aggregate(EVENT, sizes):
            if used > _BYTES:
                break
            wanted.append(one["_id"])
            used += one["size"]
        return [_told(one) for one in await self._database.find(EVENT, {"_id": {"$in": wanted}}, sort=order)] if wanted else ()

    async def put_told(self, arrival: Arrival, told: Sequence[Told]) -> int:
        tenant, subjects = told[0].event.tenant, sorted({one.event.subject for one in told})

        async def put(transaction: MongoTransaction) -> int:
            await self._hold(transaction, arrival)
            low, high = min(one.version for one in told), max(one.version for one in told)
            of_them = {"tenant": tenant, "stream": arrival.namespace, "subject": {"$in": subjects}}
            among = of_them | {"version": {"$gte": Int64(low), "$lte": Int64(high)}}
            found = await transaction.find(EVENT, among)
            known = {(one["subject"], one["version"]): one for one in found}
            head = await transaction.find_one(_HEAD, _THE_HEAD)
            if head is None:
                raise LookupError("the ends of the log are gone")
            numbers, new, changed = [int(number) for number in head["numbers"]], list[Document](), list[Document]()
            for one in told:
                document = told_document(one.event, arrival.namespace, one.version)
                if (present := known.get((one.event.subject, one.version))) is not None:
                    if update := _changed(present, document):
                        changed.append({"q": {"_id": present["_id"]}, "u": update})
                    continue
                numbers[document["partition"]] += 1
                new.append(document | {"number": Int64(numbers[document["partition"]]), "is_carried": True})
            size = max(OBJECT_BYTES + len(one.event.data) + len(one.event.aside) for one in told)
            await transaction.write_each(EVENT, "update", changed, [size] * len(changed), ordered=False)
            await transaction.write_each(EVENT, "insert", new, [size] * len(new))
            if new:
                await transaction.update_one(_HEAD, _THE_HEAD, {"$set": {"numbers": [Int64(number) for number in numbers]}})
            return len(new)

        return await self._database.transact(put)

    async def versions(self, keys: Sequence[StateKey]) -> dict[StateKey, int]:
        found = await self._database.find(STATE, {"_id": {"$in": [id_of(key) for key in keys]}}, {"version": 1})
        return {key_of(one["_id"]): int(one["version"]) for one in found}

    async def put(self, arrival: Arrival, objects: Sequence[StateRecord], generation: int) -> None:
        async def put(transaction: MongoTransaction, newest: int) -> None:
            await self._hold(transaction, arrival)
            known: dict[str, Any] = {"known": Int64(newest)} | ({"generation": Int64(generation)} if generation else {})
            updates = [
                {
                    "q": {"_id": id_of(one.key)},
                    "u": {"$set": members_of(one, with_data=True) | known | {"carried": Int64(one.version)}},
                    "upsert": True,
                }
                for one in objects
            ]
            await transaction.write_each(STATE, "update", updates, [OBJECT_BYTES + len(one.data) for one in objects])
            await _queue(transaction, objects)

        await knowing(self._database, (), lambda transaction, /, generation: put(transaction, generation))

    async def begin_timers(self, objects: Sequence[StateRecord]) -> None:
        await self._database.transact(lambda transaction: _queue(transaction, objects))

    async def end_timers(self, keys: Sequence[StateKey]) -> None:
        tenant, namespace, _ = keys[0]
        of_them = {"_id.tenant": tenant, "_id.namespace": namespace, "_id.key": {"$in": [key.key for key in keys]}}
        await self._database.delete(TIMER, of_them)

    async def clear(self, arrival: Arrival, most: int) -> bool:
        namespace, move = arrival.namespace, arrival.move

        async def clear(transaction: MongoTransaction) -> bool:
            row = await transaction.find_and_update(PLACE, {"_id": namespace} | _AWAY, {"$inc": {"steps": 1}})
            known = None if row is None else row.get("move", "")
            if known is None or (known and not move):
                raise StateMovedError(namespace)
            if known == move != "":
                return False
            if await transaction.find_one(EVENT, {"waiting": True, "stream": namespace}, {"_id": 1}, hint="outbox_event_waiting"):
                return True
            indexes = [one["_id"] for one in await transaction.find(INDEX, {"namespace": namespace}, {"_id": 1})]
            if indexes and await self._some(transaction, ENTRY, {"_id.index": {"$in": indexes}}, most):
                return True
            tenant = await next_tenant(transaction, "")
            while tenant is not None:
                if gone := await self._some(transaction, STATE, {"_id": behind(tenant, namespace, "")}, most):
                    keys = {"$in": [one["key"] for one in gone]}
                    await transaction.delete(TIMER, {"_id.tenant": tenant, "_id.namespace": namespace, "_id.key": keys})
                    return True
                tenant = await next_tenant(transaction, tenant)
            await transaction.delete(INDEX, {"namespace": namespace})
            await transaction.update_one(PLACE, {"_id": namespace}, {"$set": {"move": move}})
            return False

        return await self._database.transact(clear)

    async def forget(self, namespace: str, after: tuple[str, str, int], most: int) -> tuple[str, str, int] | None:
        tenant, subject, version = after
        at = {"tenant": tenant, "stream": namespace}
        further: list[Document] = [
            at | {"subject": subject, "version": {"$gt": Int64(version)}},
            at | {"subject": {"$gt": subject}},
            {"tenant": {"$gt": tenant}, "stream": namespace},
        ]
        order = [("tenant", 1), ("stream", 1), ("subject", 1), ("version", 1)]
        for condition in further:
            if found := await self._database.find(EVENT, condition, sort=order, limit=most):
                await self._database.bulk(EVENT, [UpdateOne({"_id": one["_id"]}, blank(one)) for one in found], ordered=False)
                return found[-1]["tenant"], found[-1]["subject"], int(found[-1]["version"])
        return None

    async def projection(self, name: str) -> MovedProjection | None:
        row = await self._database.find_one(PROJECTION, {"_id": name})
        if row is None:
            return None
        found = await self._database.find(NUMBER, {"_id.projection": name}, sort=[("_id", 1)])
        numbers = [ViewNumber(one["_id"]["tenant"], one["_id"]["partition"], int(one["number"])) for one in found]
        begun = from_micros(row["begun_at"])
        return MovedProjection(int(row["generation"]), row["position"], begun, row["is_rebuilding"], row["error"], numbers)

    async def put_projection(self, name: str, moved: MovedProjection | None) -> None:
        async def put(transaction: MongoTransaction) -> None:
            await transaction.delete(NUMBER, {"_id.projection": name})
            await transaction.delete(PROJECTION, {"_id": name})
            if moved is None:
                return
            said = {"generation": moved.generation, "position": moved.position, "begun_at": Int64(micros(moved.begun_at))}
            rest = {"is_rebuilding": moved.is_rebuilding, "error": moved.error, "swept": ["", ""]}
            await transaction.insert(PROJECTION, [{"_id": name} | said | rest])
            await transaction.insert(
                NUMBER,
                [
                    {"_id": {"projection": name, "tenant": one.tenant, "partition": one.partition}, "number": Int64(one.number)}
                    for one in moved.numbers
                ],
            )

        await self._database.transact(put)

    async def answers(self, after: tuple[str, str, str, str], most: int) -> Sequence[KeptAnswer]:
        behind_it = {"_id": {"$gt": dict(zip(_NAMES, after, strict=True))}}
        found = await self._database.find(_ANSWERS, behind_it, sort=[("_id", 1)], limit=most)
        return [
            KeptAnswer(**one["_id"], request=one["request"], answer=one["answer"], expires_at=one["expires_at"]) for one in found
        ]

    async def put_answers(self, answers: Sequence[KeptAnswer]) -> None:
        writes = []
        for one in answers:
            said = {"request": one.request, "answer": one.answer, "expires_at": one.expires_at}
            is_later = {"$lt": ["$expires_at", one.expires_at]}  # one that is missing is less than every time
            kept = {name: {"$cond": [is_later, {"$literal": value}, f"${name}"]} for name, value in said.items()}
            writes.append(UpdateOne({"_id": dict(zip(_NAMES, one.place, strict=True))}, [{"$set": kept}], upsert=True))
        await self._database.bulk(_ANSWERS, writes, ordered=False)

    async def _hold(self, transaction: MongoTransaction, arrival: Arrival) -> None:
        """See to it that room was made for this move, and stays made until the transaction ends."""
        ours = {"_id": arrival.namespace, "move": arrival.move} | _AWAY
        if await transaction.find_and_update(PLACE, ours, {"$inc": {"steps": 1}}) is None:
            raise StateMovedError(arrival.namespace)

    async def _some(self, transaction: MongoTransaction, name: str, condition: Document, most: int) -> list[dict[str, Any]]:
        """Take some documents away; return their ids."""
        ids = [one["_id"] for one in await transaction.find(name, condition, {"_id": 1}, limit=most)]
        if ids:
            await transaction.delete(name, {"_id": {"$in": ids}})
        return ids


async def _queue(transaction: MongoTransaction, objects: Sequence[StateRecord]) -> None:
    waits = [
        UpdateOne({"_id": queued(one.key, timer)}, {"$setOnInsert": {"due_at": Int64(micros(timer.at)), "tries": 0}}, upsert=True)
        for one in objects
        for timer in one.timers
        if timer.at is not None
    ]
    if waits:
        await transaction.bulk(TIMER, waits, ordered=False)


def _told(found: Document) -> Told:
    event = Event(
        found["_id"],
        found["source"],
        found["type"],
        found["subject"],
        from_micros(found["time"]),
        found["tenant"],
        found["data"].encode(),
        found["actor"],
        found["depth"],
        found["traceparent"],
        found.get("aside", "").encode(),
    )
    return Told(int(found["version"]), event)


def _changed(present: Document, wanted: Document) -> Document:
    """Return the update that lets an event say what it says where it comes from; empty: it does."""
    names = ("data", "actor", "aside", "traceparent", "marks")
    fresh = {name: wanted[name] for name in names if name in wanted and wanted[name] != present.get(name)}
    gone = {name: "" for name in names if name in present and name not in wanted}
    return {what: values for what, values in (("$set", fresh), ("$unset", gone)) if values}
