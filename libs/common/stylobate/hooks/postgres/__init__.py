"""The hook store in PostgreSQL, on the migrations of ``stylobate.hooks``."""

from collections.abc import Mapping, Sequence

from stylobate.database import DatabaseManager
from stylobate.database.batches import columns
from stylobate.hooks.port import DeadLetter, HookStanding, Kept, Move, Place, Rebased
from stylobate.hooks.postgres import statements as sql
from stylobate.outbox import PARTITIONS, Event, LoggedEvent, Position


class PostgresHookStore:
    """The port on the service's own schema."""

    def __init__(self, database: DatabaseManager) -> None:
        self._database = database

    async def unknown(self, source: str, hooks: Sequence[str]) -> list[str]:
        known = {row["hook"] for row in await self._database.fetch(sql.KNOWN, source, list(hooks))}
        return [hook for hook in hooks if hook not in known]

    async def add(self, source: str, hooks: Sequence[str], position: Position) -> None:
        await self._database.execute(
            sql.ADD, source, list(hooks), list(range(PARTITIONS)), list(position.numbers), position.epoch
        )

    async def take(self, source: str, hooks: Sequence[str], token: int) -> Mapping[str, Position]:
        taken: dict[str, Position] = {}
        for row in await self._database.fetch(sql.TAKE, source, list(hooks), token):
            stands = taken.get(row["hook"]) or Position.origin(row["epoch"])
            taken[row["hook"]] = stands.advanced({row["partition"]: row["number"]})
        return taken

    async def move(self, moves: Sequence[Move]) -> list[bool | Exception]:
        asked = ((to.place.hook, to.place.source, to.place.partition, to.number, to.place.token, to.place.epoch) for to in moves)
        rows = await self._database.fetch(sql.MOVE, *columns(asked))
        moved = {row["place"] for row in rows}
        return [number in moved for number in range(1, len(moves) + 1)]

    async def bury(self, place: Place, logged: LoggedEvent, attempts: int, error: str) -> bool:
        event = logged.event.json().decode()
        return await self._bury(place, logged.number, logged.event.tenant, event, attempts, error, logged.number)

    async def bury_gap(self, place: Place, number: int, error: str, *, move_to: int) -> bool:
        return await self._bury(place, number, None, None, 0, error, move_to)

    async def rebase(self, hook: str, source: str, token: int, epoch: str, places: Sequence[Rebased]) -> bool:
        asked = columns((place.partition, place.number, place.lost, place.error) for place in places)
        return bool(await self._database.fetch(sql.REBASE, hook, source, token, epoch, *asked))

    async def listing(self) -> list[HookStanding]:
        return [
            HookStanding(
                row["hook"],
                row["source"],
                Position.of(row["numbers"], row["epoch"]),
                row["updated_at"],
                row["aside"],
                row["dead"],
            )
            for row in await self._database.fetch(sql.LISTING)
        ]

    async def rewind(self, hook: str, source: str, position: Position) -> bool:
        numbers = list(position.numbers)
        return bool(await self._database.fetch(sql.REWIND, hook, source, position.epoch, list(range(PARTITIONS)), numbers))

    async def holds(self, hook: str, source: str, token: int) -> bool:
        return bool(await self._database.fetchval(sql.HELD, hook, source, token))

    async def put_aside(self, place: Place, logged: LoggedEvent) -> bool:
        event = logged.event
        return (
            await self._database.fetchval(
                sql.PUT, *_keys(place), place.epoch, logged.number, event.tenant, event.subject, event.json().decode()
            )
            is not None
        )

    async def subjects_aside(self, hook: str, source: str) -> Mapping[int, Mapping[tuple[str, str], int]]:
        found: dict[int, dict[tuple[str, str], int]] = {}
        for row in await self._database.fetch(sql.SUBJECTS, hook, source):
            found.setdefault(row["partition"], {})[row["tenant"], row["subject"]] = row["count"]
        return found

    async def first_aside(self, place: Place, tenant: str, subject: str) -> Kept | None:
        row = await self._database.fetchrow(sql.FIRST, place.hook, place.source, place.partition, tenant, subject)
        if row is None:
            return None
        logged = LoggedEvent(Event.parse(row["event"].encode()), row["partition"], row["number"])
        return Kept(row["seq"], logged, row["attempts"], row["age_s"])

    async def failed_aside(self, place: Place, kept: Kept, attempts: int, error: str) -> bool:
        return await self._database.fetchval(sql.FAILED, *_keys(place), kept.seq, attempts, error) is not None

    async def done_aside(self, place: Place, kept: Kept) -> bool:
        return await self._database.fetchval(sql.DONE, *_keys(place), kept.seq) is not None

    async def bury_aside(self, place: Place, kept: Kept, attempts: int, error: str) -> bool:
        return await self._database.fetchval(sql.BURY_ASIDE, *_keys(place), kept.seq, attempts, error) is not None

    async def dead_letters(self, *, hook: str = "", ids: Sequence[int] = (), most: int = 100) -> list[DeadLetter]:
        return [
            DeadLetter(
                *(row["id"], row["hook"], row["source"], row["partition"], row["number"]),
                Event.parse(row["event"].encode()) if row["event"] is not None else None,
                *(row["attempts"], row["error"], row["time"]),
            )
            for row in await self._database.fetch(sql.DEAD, hook, list(ids), most)
        ]

    async def redrive(self, ids: Sequence[int]) -> list[int]:
        return [row["id"] for row in await self._database.fetch(sql.REDRIVE, list(ids))]

    async def drop(self, ids: Sequence[int]) -> list[int]:
        return sorted(row["id"] for row in await self._database.fetch(sql.DROP, list(ids)))

    async def _bury(self, place: Place, *values: object) -> bool:
        return await self._database.fetchval(sql.BURY, *_keys(place), place.epoch, *values) is not None


def _keys(place: Place) -> tuple[str, str, int, int]:
    return place.hook, place.source, place.partition, place.token
