"""Taking the data of older versions away in MongoDB, behind the log."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from bson import Int64
from pymongo import UpdateOne
from stylobate.database.mongodb import Document, MongoManager, MongoTransaction, micros
from stylobate.outbox.event import PARTITIONS

from stylobate_state.model import Change, StateKey
from stylobate_state.store.forgetting import Erased, Forgetting, Forgot
from stylobate_state.store.mongodb.documents import EVENT, STATE, behind, id_of
from stylobate_state.store.mongodb.events import at, mark, type_of
from stylobate_state.store.mongodb.fence import knowing

FORGOTTEN = "state_forgotten"
_STAYS = (
    "namespace", "key", "version", "status", "actor", "event", "from", "to", "owner", "previous_owner", "restored_from",
    "schema_version",
)  # fmt: skip
"""What stays of an event whose data is taken away: what happened, to what, and by whom."""
_NAMES = ("actor", "owner", "previous_owner")
_NULL, _TRUE, _NOBODY = msgspec.Raw(b"null"), msgspec.Raw(b"true"), msgspec.Raw(b'""')
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_Data = dict[str, msgspec.Raw]
_NO_ASIDE = {"$unset": {"aside": ""}}
_LIGHT = {"tenant": 1, "stream": 1, "subject": 1, "version": 1, "type": 1, "time": 1, "number": 1}


class _Version(NamedTuple):
    key: StateKey
    version: int


class MongoForgettingStore:
    """A ForgettingStore in the service's database."""

    def __init__(self, database: MongoManager) -> None:
        self._database = database

    async def forget(self, forgetting: Forgetting, most: int) -> Forgot:
        """See ForgettingStore."""

        async def forget(transaction: MongoTransaction) -> Forgot:
            name = {"namespace": forgetting.namespace, "rule": forgetting.rule}
            place = await transaction.find_and_update(FORGOTTEN, {"_id": name}, {"$inc": {"steps": 1}}, upsert=True)
            numbers = [*(place or {}).get("numbers", [0] * PARTITIONS)]
            youngest = micros(datetime.now(UTC) - forgetting.age)
            settled: list[Document] = []
            has_more = False
            for partition in range(PARTITIONS):
                condition = {"partition": partition, "number": {"$gt": Int64(numbers[partition])}}
                seen = await transaction.find(EVENT, condition, _LIGHT, sort=[("number", 1)], limit=most)
                old = next((count for count, one in enumerate(seen) if one["time"] > youngest), len(seen))
                settled += seen[:old]
                if old:
                    numbers[partition] = Int64(seen[old - 1]["number"])
                has_more = has_more or old == most
            await transaction.update_one(FORGOTTEN, {"_id": name}, {"$set": {"numbers": numbers}})
            ours = [one for one in settled if one["stream"] == forgetting.namespace]
            if forgetting.behind:
                lost = await self._behind(transaction, ours, forgetting.behind)
            else:
                lost = await self._deleted(transaction, ours, forgetting.namespace)
            return Forgot(await _take(transaction, lost), has_more)

        return await self._database.transact(forget)

    async def forget_person(
        self, tenant: str, namespace: str, person: str, *, erases: bool, after: tuple[str, int], most: int
    ) -> tuple[str, int] | None:
        """See ForgettingStore."""
        found = await self._database.transact(
            lambda transaction: self._without(transaction, tenant, namespace, person, erases=erases, after=after, most=most)
        )
        if len(found) == most:
            return str(found[-1]["subject"]), int(found[-1]["version"])

        async def nobodys(transaction: MongoTransaction, generation: int) -> None:
            condition = {"_id": behind(tenant, namespace, ""), "owner": person, "live": False}
            await transaction.update_many(STATE, condition, {"$set": {"owner": "", "known": Int64(generation)}})

        await knowing(self._database, {namespace}, nobodys)
        return None

    async def erase(self, key: StateKey) -> Erased:
        """See ForgettingStore. A write of the object meanwhile makes this begin anew: what is the newest version stays it."""

        async def erase(transaction: MongoTransaction, generation: int) -> Erased:
            known = {"$set": {"known": Int64(generation)}, "$inc": {"locks": 1}}
            present = await transaction.find_and_update(STATE, {"_id": id_of(key)}, known)
            living = int(present["version"]) if present is not None and present["live"] else 0
            lost = await transaction.find(EVENT, at(key) | {"version": {"$ne": living}})
            return Erased(await _take(transaction, lost), living)

        return await knowing(self._database, {key.namespace}, erase)

    async def _behind(self, transaction: MongoTransaction, settled: Sequence[Document], count: int) -> list[Document]:
        """Return the events that lie a number of versions below these."""
        wanted = [_at(_of(one)._replace(version=one["version"] - count)) for one in settled if one["version"] > count]
        return await transaction.find(EVENT, {"$or": wanted}) if wanted else []

    async def _deleted(self, transaction: MongoTransaction, settled: Sequence[Document], namespace: str) -> list[Document]:
        """Return all events below the deletions among these that were not undone."""
        gone: dict[StateKey, int] = {}
        for one in settled:
            key, version = _of(one)
            if one["type"] != type_of(namespace, Change.DELETED):
                continue
            undone = await transaction.find_one(EVENT, _at(_Version(key, version + 1)), {"data": 1})
            if undone is None or "restored_from" not in _members(undone["data"]):
                gone[key] = max(version, gone.get(key, 0))
        return [
            one for key, version in gone.items() for one in await transaction.find(EVENT, at(key) | {"version": {"$lt": version}})
        ]

    async def _without(
        self,
        transaction: MongoTransaction,
        tenant: str,
        namespace: str,
        person: str,
        *,
        erases: bool,
        after: tuple[str, int],
        most: int,
    ) -> list[Document]:
        """Take a person's id out of the next events, and return these."""
        subject, version = after
        further = {"$or": [{"subject": {"$gt": subject}}, {"subject": subject, "version": {"$gt": Int64(version)}}]}
        order = [("subject", 1), ("version", 1)]
        part = await transaction.find(EVENT, {"tenant": tenant, "stream": namespace} | further, sort=order, limit=most)
        gone: set[str] = set()
        if erases and part:
            keys = sorted({one["subject"] for one in part})
            condition = {
                "_id": {"$in": [id_of(StateKey(tenant, namespace, key)) for key in keys]},
                "owner": person,
                "live": False,
            }
            gone = {one["_id"]["key"] for one in await transaction.find(STATE, condition, {"_id": 1})}
        changes: list[Any] = []
        for one in part:
            data = said = _members(one["data"])
            if one["subject"] in gone and "forgotten" not in said:
                data = _forgotten(data)
            data = data | {name: _NOBODY for name in _NAMES if name in data and msgspec.json.decode(data[name]) == person}
            if data == said and one["actor"] != person:
                continue
            actor = "" if one["actor"] == person else one["actor"]
            aside = _NO_ASIDE if one["subject"] in gone else {}
            blanked = {"actor": actor, "marks.actor": mark(_of(one).key, one["type"], actor)}
            changes.append(UpdateOne({"_id": one["_id"]}, _said(data, **blanked) | aside))
        await transaction.bulk(EVENT, changes, ordered=False)
        return part


async def _take(transaction: MongoTransaction, lost: Sequence[Document]) -> int:
    """Take the data of these events away, and return how many had any.

    The one behind each may carry what stood there before it, and keep some of it aside: that goes too.
    """
    found = {_of(one): one for one in lost if "forgotten" not in _members(one["data"])}
    changes: list[Any] = [
        UpdateOne({"_id": one["_id"]}, _said(_forgotten(_members(one["data"]))) | _NO_ASIDE) for one in found.values()
    ]
    following = [_at(after) for key, version in found if (after := _Version(key, version + 1)) not in found]
    for one in await transaction.find(EVENT, {"$or": following}) if following else ():
        data = _members(one["data"])
        kept = {name: value for name, value in data.items() if name not in {"before", "delta"}}
        if len(kept) < len(data) or "aside" in one:
            changes.append(UpdateOne({"_id": one["_id"]}, _said(kept) | _NO_ASIDE))
    await transaction.bulk(EVENT, changes, ordered=False)
    return len(found)


def blank(found: Document) -> dict[str, Any]:
    """Return the update that leaves of an event what happened to which key."""
    data = _forgotten(_members(found["data"]))
    data |= {name: _NOBODY for name in _NAMES if name in data}
    nobodys = mark(_of(found).key, found["type"], "")
    return _said(data, actor="", traceparent="", **{"marks.actor": nobodys}) | _NO_ASIDE


def _said(data: _Data, **others: Any) -> dict[str, Any]:
    return {"$set": {"data": _encode(data).decode(), **others}}


def _forgotten(data: _Data) -> _Data:
    return {name: value for name, value in data.items() if name in _STAYS} | {"data": _NULL, "forgotten": _TRUE}


def _of(found: Document) -> _Version:
    return _Version(StateKey(found["tenant"], found["stream"], found["subject"]), int(found["version"]))


def _at(one: _Version) -> dict[str, Any]:
    return at(one.key) | {"version": Int64(one.version)}
