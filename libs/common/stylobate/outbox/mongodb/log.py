"""The log: the numbered events of one service, read from a position on."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from bson.int64 import Int64
from bson.regex import Regex

from stylobate.database.mongodb import Document, MongoManager, MongoTransaction, micros
from stylobate.outbox.errors import PositionExpiredError
from stylobate.outbox.event import PARTITIONS
from stylobate.outbox.mongodb.numbering import EPOCHS, HEAD, THE_HEAD, logged_event
from stylobate.outbox.mongodb.outbox import EVENTS
from stylobate.outbox.pattern import EventPattern
from stylobate.outbox.port import LogPage
from stylobate.outbox.position import Position, position_to_go_on

_WINDOW = 5000
"""How many events of a partition one read looks at: the bound of a read whose types are rare."""
_BYTES = 8 * 1024 * 1024
"""About how much data one read gives, however many events it asks for; at least one event of each partition."""
_LOG = "outbox_event_log"
_NOW = {"$multiply": [{"$toLong": "$$NOW"}, 1000]}


class MongoEventLog:
    """The port on the service's own database."""

    def __init__(self, database: MongoManager, source: str) -> None:
        self._database = database
        self.source = source
        self.types: Sequence[EventPattern] = ()

    async def head(self) -> Position:
        return _position(await self._ends(), "numbers")

    async def oldest(self) -> Position:
        return _position(await self._ends(), "pruned")

    async def before(self, time: datetime) -> Position:
        ends = await self._ends()
        first = dict(enumerate(ends["numbers"]))
        for partition in range(PARTITIONS):
            later = {"partition": partition, "number": {"$gt": 0}, "time": {"$gte": micros(time)}}
            found = await self._database.find_one(EVENTS, later, {"number": 1}, sort=[("number", 1)], hint=_LOG)
            if found is not None:
                first[partition] = found["number"] - 1
        return Position.of([first[partition] for partition in range(PARTITIONS)], ends["epoch"])

    async def check(self, position: Position, partitions: Iterable[int] | None = None) -> None:
        await self._check(await self._ends(), position, range(PARTITIONS) if partitions is None else partitions)

    async def _ends(self) -> Document:
        """Return where the log begins and where it ends, of each partition, and its epoch."""
        found = await self._database.find_one(HEAD, THE_HEAD)
        if found is None:
            raise LookupError("the ends of the log are gone")
        return found

    async def _check(self, ends: Document, position: Position, wanted: Iterable[int]) -> None:
        """Compare the position with the ends of the log."""
        asked = set(wanted)
        if ends["epoch"] == position.epoch and all(
            ends["pruned"][partition] <= position.numbers[partition] <= ends["numbers"][partition] for partition in asked
        ):
            return
        oldest, head = _position(ends, "pruned"), _position(ends, "numbers")
        starts = await self._followed(position.epoch) if head.epoch != position.epoch else []
        there = position_to_go_on(position, asked, oldest=oldest, head=head, starts=starts)
        raise PositionExpiredError(metadata={"position": str(there)})

    async def _followed(self, epoch: str) -> list[list[int]]:
        """Return the starts of the epochs that followed one; when that is unknown here (a restore took it back) of the last."""
        begun = await self._database.find(EPOCHS, {}, sort=[("_id", 1)])
        names = ["", *(one["epoch"] for one in begun)]
        known = names.index(epoch) if epoch in names else len(names) - 2
        return [one["starts"] for one in begun[known:]]

    async def read(
        self,
        position: Position,
        partitions: Sequence[int] | None = None,
        types: Sequence[EventPattern] = (),
        limit: int = 256,
        *,
        carried: bool = True,
    ) -> LogPage:
        """See the port. The ends are read before the events, which are read up to them, and looked at again afterwards."""
        wanted = list(range(PARTITIONS) if partitions is None else partitions)
        ends = await self._ends()
        await self._check(ends, position, wanted)
        each, share = max(1, limit // max(1, len(wanted))), _BYTES // max(1, len(wanted))
        reached = {one: min(ends["numbers"][one], position.numbers[one] + _WINDOW) for one in wanted}
        grown = [partition for partition in wanted if reached[partition] > position.numbers[partition]]
        if not grown:
            return LogPage([], position)
        own = {} if carried else {"is_carried": None}  # missing
        places = {one: own | {"partition": one, "number": {"$gt": position.numbers[one], "$lte": reached[one]}} for one in grown}
        rows = await self._database.aggregate_within(EVENTS, _reading(places, types, each), each * len(grown))
        if rows is None:
            rows = await self._read_large(places, types, each, share)
        after = await self._ends()
        if after["epoch"] != ends["epoch"] or after["pruned"] != ends["pruned"]:
            await self._check(after, position, wanted)
        counts, sizes = dict.fromkeys(wanted, 0), dict.fromkeys(wanted, 0)
        found = []
        for row in rows:
            partition = row["partition"]
            if counts[partition] == each or sizes[partition] > share:
                continue
            counts[partition] += 1
            sizes[partition] += len(row["data"])
            if counts[partition] == each or sizes[partition] > share:  # there may be more before the end
                reached[partition] = row["number"]
            found.append(logged_event(row))
        return LogPage(found, position.advanced(reached))

    async def _read_large(
        self, places: Mapping[int, Document], types: Sequence[EventPattern], each: int, share: int
    ) -> list[Document]:
        """Read no more than is given: of each partition the first events whose data exceed its share together, or all."""
        sizes = [{"$project": {"_id": 0, "partition": 1, "number": 1, "size": {"$strLenBytes": "$data"}}}]
        used, ends = dict.fromkeys(places, 0), dict[int, int]()
        for row in await self._database.aggregate(EVENTS, _reading(places, types, each, sizes)):
            if used[row["partition"]] <= share:
                used[row["partition"]] += row["size"]
                ends[row["partition"]] = row["number"]
        wanted = {one: {**places[one], "number": {**places[one]["number"], "$lte": end}} for one, end in ends.items()}
        return await self._database.aggregate(EVENTS, _reading(wanted, types, each)) if wanted else []

    async def numbers(self, tenant: str, stream: str, versions: Mapping[str, int]) -> dict[str, int]:
        if not versions:
            return {}
        asked = [{"subject": subject, "version": version} for subject, version in versions.items()]
        rows = await self._database.find(
            EVENTS,
            {"tenant": tenant, "stream": stream, "number": {"$gt": 0}, "$or": asked},
            {"subject": 1, "number": 1},
        )
        return {row["subject"]: int(row["number"]) for row in rows}

    async def prune(self, older_than: timedelta, *, batch: int = 1000) -> int:
        removed = 0
        for partition in range(PARTITIONS):
            while True:
                count = await self._prune(partition, older_than, batch)
                removed += count
                if count < batch:
                    break
        return removed

    async def _prune(self, partition: int, older_than: timedelta, batch: int) -> int:
        """Remove the oldest numbered events of a partition, up to the first that is too young; at most a batch."""
        ends = await self._ends()
        begin, end = ends["pruned"][partition], ends["numbers"][partition]
        if begin == end:
            return 0
        upto = min(end, begin + batch)
        young = {"$gte": ["$time", {"$subtract": [_NOW, older_than // timedelta(microseconds=1)]}]}
        place = {"partition": partition, "number": {"$gt": begin, "$lte": upto}}
        first = await self._database.find_one(EVENTS, {**place, "$expr": young}, {"number": 1}, sort=[("number", 1)], hint=_LOG)
        edge = upto if first is None else first["number"] - 1
        if edge <= begin:
            return 0

        async def work(transaction: MongoTransaction) -> int:
            at = f"pruned.{partition}"
            if not (await transaction.update_one(HEAD, {**THE_HEAD, at: begin}, {"$set": {at: Int64(edge)}})).matched:
                return 0  # another process was quicker
            return await transaction.delete(EVENTS, {"partition": partition, "number": {"$gt": begin, "$lte": edge}})

        return await self._database.transact(work)


def _position(ends: Document, which: str) -> Position:
    return Position.of([int(one) for one in ends[which]], ends["epoch"])


def _reading(
    places: Mapping[int, Document], types: Sequence[EventPattern], each: int, then: Sequence[Document] = ()
) -> list[Document]:
    """Return the pipeline that gives the events of each partition in a place, some of each, one partition after the other."""
    kinds = {"type": {"$in": [_asked(kind) for kind in types]}} if types else {}
    parts: list[list[Document]] = [
        [{"$match": {**place, **kinds}}, {"$sort": {"number": 1}}, {"$limit": each}, *then] for place in places.values()
    ]
    return [*parts[0], *({"$unionWith": {"coll": EVENTS, "pipeline": part}} for part in parts[1:])]


def _asked(kind: EventPattern) -> str | Regex[str]:
    """Return what finds the types that are meant."""
    return Regex(kind.regex) if "*" in kind.text else kind.text
