"""Carrying a namespace from one MongoDB to another: documents as they are."""

from collections.abc import Sequence

from bson import Int64
from pymongo import UpdateOne
from stylobate.database.mongodb import Document, MongoManager, MongoTransaction

from stylobate_state.index import Index
from stylobate_state.model import StateKey
from stylobate_state.store.mongodb.documents import EVENT, STATE, TIMER, behind, key_of, queued, timers_of
from stylobate_state.store.mongodb.fence import knowing, next_tenant
from stylobate_state.store.mongodb.places import MongoPlaceStore
from stylobate_state.store.mongodb.projections import NUMBER, PROJECTION
from stylobate_state.store.mongodb.states import MongoStateStore
from stylobate_state.store.moving import Carried

_ENTERED_AT_ONCE = 500
_ANSWERS_AT_ONCE = 1000
_ANSWERS = "idempotency"
_HEAD, _THE_HEAD = "outbox_head", {"_id": "head"}


class MongoCarrier:
    """A Carrier between two databases.

    :param name: of the other database.
    """

    def __init__(self, here: MongoManager, there: MongoManager, states: MongoStateStore, source: str, name: str) -> None:
        self._here = here
        self._there = there
        self._states = states
        self._places_here, self._places_there = MongoPlaceStore(here, source), MongoPlaceStore(there, source)
        self._name = name

    async def begin(self, namespace: str) -> None:
        await self._places_here.give(namespace, self._name, with_objects=True, is_moving=True)

    async def carry(self, namespace: str, after: StateKey | None, most: int) -> Carried:
        tenant, key = (await next_tenant(self._here, ""), "") if after is None else (after.tenant, after.key)
        while tenant is not None:
            condition = {"_id": behind(tenant, namespace, key)}
            found = await self._here.find(STATE, condition, sort=[("_id", 1)], limit=most)
            if found:
                objects, versions = await self._carry(tenant, namespace, found)
                return Carried(objects, versions, key_of(found[-1]["_id"]))
            tenant, key = await next_tenant(self._here, tenant), ""
        return Carried(0, 0, None)

    async def _carry(self, tenant: str, namespace: str, found: Sequence[Document]) -> tuple[int, int]:
        subjects = [one["_id"]["key"] for one in found]
        events = await self._here.find(EVENT, {"tenant": tenant, "stream": namespace, "subject": {"$in": subjects}})
        # in the order of the log where they come from; what had no number yet comes last, in the order of versions
        events.sort(key=lambda one: (one["partition"], one.get("number", float("inf")), one["version"]))

        async def put(there: MongoTransaction, generation: int) -> tuple[int, int]:
            # what was there already was carried with its events by a step before
            known = await there.find(STATE, {"_id": {"$in": [one["_id"] for one in found]}}, {"_id": 1})
            present = {one["_id"]["key"] for one in known}
            states = [one | {"known": Int64(generation)} for one in found if one["_id"]["key"] not in present]
            told = [one for one in events if one["subject"] not in present]
            await there.insert(STATE, states)
            await self._put_events(there, told)
            await there.insert(TIMER, [timer for one in states for timer in _waiting(one)])
            return len(states), len(told)

        done = await knowing(self._there, {namespace}, put)
        of_them = {"_id.tenant": tenant, "_id.namespace": namespace, "_id.key": {"$in": subjects}}
        await self._here.delete(TIMER, of_them)
        return done

    async def _put_events(self, there: MongoTransaction, events: Sequence[Document]) -> None:
        """Give them the next numbers of the log there."""
        if not events:
            return
        head = await there.find_one(_HEAD, _THE_HEAD)
        if head is None:
            raise LookupError("the ends of the log are gone")
        numbers = [int(number) for number in head["numbers"]]
        numbered = []
        for event in events:
            numbers[event["partition"]] += 1
            said = {name: value for name, value in event.items() if name != "waiting"}
            numbered.append(said | {"number": Int64(numbers[event["partition"]])})
        await there.insert(EVENT, numbered)
        await there.update_one(_HEAD, _THE_HEAD, {"$set": {"numbers": [Int64(number) for number in numbers]}})

    async def enter(self, indexes: Sequence[Index]) -> bool:
        await self._states.declare(indexes)
        return await self._states.build(_ENTERED_AT_ONCE)

    async def finish(self, namespace: str) -> None:
        for name, condition in ((PROJECTION, {"_id": namespace}), (NUMBER, {"_id.projection": namespace})):
            await self._copy(name, await self._here.find(name, condition))
        # what was answered to calls with an idempotency key
        after: Document = {}
        while answers := await self._here.find(_ANSWERS, after, sort=[("_id", 1)], limit=_ANSWERS_AT_ONCE):
            await self._copy(_ANSWERS, answers)
            after = {"_id": {"$gt": answers[-1]["_id"]}}
        await self._places_there.take(namespace)
        await self._places_here.give(namespace, self._name, with_objects=True)

    async def _copy(self, name: str, documents: Sequence[Document]) -> None:
        """Put documents there that are not there yet."""
        await self._there.bulk(
            name,
            [
                UpdateOne(
                    {"_id": one["_id"]}, {"$setOnInsert": {key: value for key, value in one.items() if key != "_id"}}, upsert=True
                )
                for one in documents
            ],
            ordered=False,
        )


def _waiting(found: Document) -> list[Document]:
    """Return the timers of an object that are still to come, as the queue has them."""
    return [
        {"_id": queued(key_of(found["_id"]), timer), "due_at": said["at"], "tries": 0}
        for timer, said in zip(timers_of(found["timers"]), found["timers"], strict=True)
        if timer.at is not None
    ]
