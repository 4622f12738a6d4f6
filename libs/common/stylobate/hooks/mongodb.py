"""The hook store in MongoDB, on the migrations of ``stylobate.hooks``: one document for a hook and log, of all its partitions."""

from collections.abc import Mapping, Sequence
from typing import Any

from bson.int64 import Int64
from pymongo import UpdateOne

from stylobate.database.mongodb import Document, MongoManager, MongoTransaction
from stylobate.hooks.port import DeadLetter, HookStanding, Kept, Move, Place, Rebased
from stylobate.outbox import Event, LoggedEvent, Position

_POSITIONS, _ASIDE, _LETTERS, _NUMBERS = "hook_position", "hook_aside", "hook_dead_letter", "hook_number"
_TOUCHED = {"$currentDate": {"updated_at": True}}


class MongoHookStore:
    """The port on the service's own database."""

    def __init__(self, database: MongoManager) -> None:
        self._database = database

    async def unknown(self, source: str, hooks: Sequence[str]) -> list[str]:
        rows = await self._database.find(_POSITIONS, _these(source, hooks), {"_id": 1})
        known = {row["_id"]["hook"] for row in rows}
        return [hook for hook in hooks if hook not in known]

    async def add(self, source: str, hooks: Sequence[str], position: Position) -> None:
        first = {"numbers": [Int64(one) for one in position.numbers], "epoch": position.epoch, "token": Int64(0)}
        for hook in hooks:
            begun = [
                {"$set": {**{name: {"$ifNull": [f"${name}", value]} for name, value in first.items()}, "updated_at": "$$NOW"}}
            ]
            if await self._database.find_one(_POSITIONS, {"_id": _id(hook, source)}, {"_id": 1}) is None:
                await self._database.update_one(_POSITIONS, {"_id": _id(hook, source)}, begun, upsert=True)

    async def take(self, source: str, hooks: Sequence[str], token: int) -> Mapping[str, Position]:
        async def work(transaction: MongoTransaction) -> Mapping[str, Position]:
            mine = {**_these(source, hooks), "token": {"$lte": token}}
            await transaction.update_many(_POSITIONS, mine, {"$set": {"token": Int64(token)}})
            rows = await transaction.find(_POSITIONS, {**_these(source, hooks), "token": token})
            return {row["_id"]["hook"]: _position(row) for row in rows}

        return await self._database.transact(work)

    async def holds(self, hook: str, source: str, token: int) -> bool:
        return await self._database.find_one(_POSITIONS, {"_id": _id(hook, source), "token": token}, {"_id": 1}) is not None

    async def move(self, moves: Sequence[Move]) -> list[bool | Exception]:
        """See the port. Who took over, or rewound, since the moves were made finds them done, or they were not: never late."""
        by_holder: dict[tuple[str, str, int, str], dict[str, int]] = {}
        for to in moves:
            at = by_holder.setdefault((to.place.hook, to.place.source, to.place.token, to.place.epoch), {})
            at[f"numbers.{to.place.partition}"] = Int64(to.number)
        writes = [
            UpdateOne({"_id": _id(hook, source), "token": token, "epoch": epoch}, {"$max": numbers, **_TOUCHED})
            for (hook, source, token, epoch), numbers in by_holder.items()
        ]
        await self._database.bulk(_POSITIONS, writes, ordered=False)
        ids = [_id(hook, source) for hook, source, _, _ in by_holder]
        rows = await self._database.find(_POSITIONS, {"_id": {"$in": ids}}, {"token": 1, "epoch": 1})
        held = {(row["_id"]["hook"], row["_id"]["source"]): (row["token"], row["epoch"]) for row in rows}
        return [held.get((to.place.hook, to.place.source)) == (to.place.token, to.place.epoch) for to in moves]

    async def bury(self, place: Place, logged: LoggedEvent, attempts: int, error: str) -> bool:
        async def work(transaction: MongoTransaction) -> bool:
            if not await _moved(transaction, place, logged.number):
                return False
            event = logged.event.json().decode()
            await _letter(transaction, place, place.epoch, logged.number, event=event, attempts=attempts, error=error)
            return True

        return await self._database.transact(work)

    async def bury_gap(self, place: Place, number: int, error: str, *, move_to: int) -> bool:
        async def work(transaction: MongoTransaction) -> bool:
            if not await _moved(transaction, place, move_to):
                return False
            await _letter(transaction, place, place.epoch, number, event=None, attempts=0, error=error)
            return True

        return await self._database.transact(work)

    async def rebase(self, hook: str, source: str, token: int, epoch: str, places: Sequence[Rebased]) -> bool:
        async def work(transaction: MongoTransaction) -> bool:
            row = await transaction.lock(_POSITIONS, {"_id": _id(hook, source), "token": token})
            if row is None:
                return False
            numbers = list(row["numbers"])
            for one in places:
                numbers[one.partition] = Int64(one.number)
                if one.error is not None:
                    there = Place(hook, source, one.partition, token, row["epoch"])
                    await _letter(transaction, there, row["epoch"], one.lost, event=None, attempts=0, error=one.error)
            set_ = {"$set": {"numbers": numbers, "epoch": epoch}, **_TOUCHED}
            await transaction.update_one(_POSITIONS, {"_id": _id(hook, source)}, set_)
            return True

        return await self._database.transact(work)

    async def put_aside(self, place: Place, logged: LoggedEvent) -> bool:
        async def work(transaction: MongoTransaction) -> bool:
            if not await _moved(transaction, place, logged.number):
                return False
            event = logged.event
            await _stands_aside(
                transaction,
                place,
                place.epoch,
                logged.number,
                subject=(event.tenant, event.subject),
                event=event.json().decode(),
            )
            return True

        return await self._database.transact(work)

    async def subjects_aside(self, hook: str, source: str) -> Mapping[int, Mapping[tuple[str, str], int]]:
        by = {"partition": "$partition", "tenant": "$tenant", "subject": "$subject"}
        rows = await self._database.aggregate(
            _ASIDE, [{"$match": {"hook": hook, "source": source}}, {"$group": {"_id": by, "count": {"$sum": 1}}}]
        )
        found: dict[int, dict[tuple[str, str], int]] = {}
        for row in rows:
            key = row["_id"]
            found.setdefault(key["partition"], {})[key["tenant"], key["subject"]] = row["count"]
        return found

    async def first_aside(self, place: Place, tenant: str, subject: str) -> Kept | None:
        there = {**_there(place), "tenant": tenant, "subject": subject}
        age = {"$max": [0, {"$subtract": ["$$NOW", "$since"]}]}
        rows = await self._database.aggregate(
            _ASIDE, [{"$match": there}, {"$sort": {"_id": 1}}, {"$limit": 1}, {"$set": {"age": age}}]
        )
        if not rows:
            return None
        row = rows[0]
        logged = LoggedEvent(Event.parse(row["event"].encode()), row["partition"], int(row["number"]))
        return Kept(int(row["_id"]), logged, row["attempts"], row["age"] / 1000)

    async def failed_aside(self, place: Place, kept: Kept, attempts: int, error: str) -> bool:
        async def work(transaction: MongoTransaction) -> bool:
            if not await _is_ours(transaction, place):
                return False
            await transaction.update_one(_ASIDE, {"_id": kept.seq}, {"$set": {"attempts": attempts, "error": error}})
            return True

        return await self._database.transact(work)

    async def done_aside(self, place: Place, kept: Kept) -> bool:
        async def work(transaction: MongoTransaction) -> bool:
            if not await _is_ours(transaction, place):
                return False
            await transaction.delete(_ASIDE, {"_id": kept.seq})
            return True

        return await self._database.transact(work)

    async def bury_aside(self, place: Place, kept: Kept, attempts: int, error: str) -> bool:
        async def work(transaction: MongoTransaction) -> bool:
            if not await _is_ours(transaction, place):
                return False
            if (row := await transaction.find_and_delete(_ASIDE, {"_id": kept.seq})) is not None:
                number, event = row["number"], row["event"]
                await _letter(transaction, place, row["epoch"], number, event=event, attempts=attempts, error=error)
            return True

        return await self._database.transact(work)

    async def listing(self) -> list[HookStanding]:
        found = []
        for row in await self._database.find(_POSITIONS, {}, sort=[("_id", 1)]):
            mine = {"hook": row["_id"]["hook"], "source": row["_id"]["source"]}
            aside, dead = [await self._database.count(name, mine) for name in (_ASIDE, _LETTERS)]
            found.append(HookStanding(mine["hook"], mine["source"], _position(row), row["updated_at"], aside, dead))
        return found

    async def rewind(self, hook: str, source: str, position: Position) -> bool:
        """See the port. The token rises, so that who works under the old one notices and begins anew from here."""
        there = {"numbers": [Int64(one) for one in position.numbers], "epoch": position.epoch}
        change = {"$set": there, "$inc": {"token": Int64(1)}, **_TOUCHED}
        return (await self._database.update_one(_POSITIONS, {"_id": _id(hook, source)}, change)).matched > 0

    async def dead_letters(self, *, hook: str = "", ids: Sequence[int] = (), most: int = 100) -> list[DeadLetter]:
        where: dict[str, Any] = {"hook": hook} if hook else {}
        if ids:
            where["_id"] = {"$in": list(ids)}
        return [
            DeadLetter(
                *(int(row["_id"]), row["hook"], row["source"], row["partition"], int(row["number"])),
                Event.parse(row["event"].encode()) if row["event"] is not None else None,
                *(row["attempts"], row["error"], row["time"]),
            )
            for row in await self._database.find(_LETTERS, where, sort=[("_id", -1)], limit=most)
        ]

    async def redrive(self, ids: Sequence[int]) -> list[int]:
        """See the port. The token rises, as for a rewind: who runs the hook begins anew, and finds what stands aside."""

        async def work(transaction: MongoTransaction) -> list[int]:
            letters = await transaction.find(_LETTERS, {"_id": {"$in": list(ids)}, "event": {"$ne": None}}, sort=[("_id", 1)])
            there, done = dict[tuple[str, str], bool](), list[int]()
            for row in letters:
                key = row["hook"], row["source"]
                if key not in there:
                    raised = await transaction.update_one(_POSITIONS, {"_id": _id(*key)}, {"$inc": {"token": Int64(1)}})
                    there[key] = raised.matched > 0
                if there[key]:
                    await transaction.delete(_LETTERS, {"_id": row["_id"]})
                    subject = row["tenant"], Event.parse(row["event"].encode()).subject
                    place = Place(*key, row["partition"], 0)
                    await _stands_aside(transaction, place, row["epoch"], row["number"], subject=subject, event=row["event"])
                    done.append(int(row["_id"]))
            return done

        return await self._database.transact(work)

    async def drop(self, ids: Sequence[int]) -> list[int]:
        async def work(transaction: MongoTransaction) -> list[int]:
            rows = await transaction.find(_LETTERS, {"_id": {"$in": list(ids)}}, {"_id": 1}, sort=[("_id", 1)])
            await transaction.delete(_LETTERS, {"_id": {"$in": [row["_id"] for row in rows]}})
            return [int(row["_id"]) for row in rows]

        return await self._database.transact(work)


def _id(hook: str, source: str) -> dict[str, str]:
    return {"hook": hook, "source": source}


def _these(source: str, hooks: Sequence[str]) -> dict[str, Any]:
    return {"_id": {"$in": [_id(hook, source) for hook in hooks]}}


def _there(place: Place) -> dict[str, Any]:
    return {"hook": place.hook, "source": place.source, "partition": place.partition}


def _position(row: Document) -> Position:
    return Position.of([int(one) for one in row["numbers"]], row["epoch"])


async def _moved(transaction: MongoTransaction, place: Place, number: int) -> bool:
    """Move the position on, never back; False where it is not the place's any more."""
    mine = {"_id": _id(place.hook, place.source), "token": place.token, "epoch": place.epoch}
    change = {"$max": {f"numbers.{place.partition}": Int64(number)}, **_TOUCHED}
    return (await transaction.update_one(_POSITIONS, mine, change)).matched > 0


async def _is_ours(transaction: MongoTransaction, place: Place) -> bool:
    """Lock the position: whoever takes over after it finds this done; after a takeover this does nothing."""
    return await transaction.lock(_POSITIONS, {"_id": _id(place.hook, place.source), "token": place.token}) is not None


async def _next(transaction: MongoTransaction, of: str) -> Int64:
    """Return the next number; counted in the transaction, for what is rare."""
    row = await transaction.find_and_update(_NUMBERS, {"_id": of}, {"$inc": {"last": Int64(1)}}, upsert=True)
    assert row is not None  # noqa: S101  for the type checker: it was made
    return Int64(row["last"])


async def _letter(
    transaction: MongoTransaction, place: Place, epoch: str, number: int, *, event: str | None, attempts: int, error: str
) -> None:
    """Put something to the dead letters, once."""
    where = {**_there(place), "epoch": epoch, "number": Int64(number)}
    if await transaction.find_one(_LETTERS, where, {"_id": 1}) is not None:
        return
    tenant = Event.parse(event.encode()).tenant if event is not None else None
    letter = {"_id": await _next(transaction, _LETTERS), **where, "tenant": tenant, "event": event, "attempts": attempts}
    await transaction.update_one(_LETTERS, {"_id": letter.pop("_id")}, _inserted({**letter, "error": error}, "time"), upsert=True)


async def _stands_aside(
    transaction: MongoTransaction, place: Place, epoch: str, number: int, *, subject: tuple[str, str], event: str
) -> None:
    """Let an event stand aside, once, behind all that does."""
    where = {**_there(place), "epoch": epoch, "number": Int64(number)}
    if await transaction.find_one(_ASIDE, where, {"_id": 1}) is not None:
        return
    kept = {**where, "tenant": subject[0], "subject": subject[1], "event": event, "attempts": 0, "error": ""}
    await transaction.update_one(_ASIDE, {"_id": await _next(transaction, _ASIDE)}, _inserted(kept, "since"), upsert=True)


def _inserted(document: Document, time: str) -> list[dict[str, Any]]:
    """Return the update that makes a document, with the server's time."""
    return [{"$set": {**{name: {"$literal": value} for name, value in document.items()}, time: "$$NOW"}}]
