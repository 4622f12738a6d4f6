"""Positions and dead letters of durable hooks in PostgreSQL, fenced by lease token and epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stylobate.database import DatabaseManager
from stylobate.outbox import PARTITIONS, LoggedEvent, Position

_KNOWN = "select distinct hook from hook_position where source = $1 and hook = any ($2::text[])"

_ADD = """
insert into hook_position (hook, source, partition, number, epoch)
select h.hook, $1, n.partition, n.number, $5
from unnest($2::text[]) as h (hook), unnest($3::smallint[], $4::bigint[]) as n (partition, number)
on conflict do nothing
"""

# The holder of a lease writes its token into the rows; from then on whoever held it before finds no row to change.
_TAKE = """
with mine as materialized (
    select hook, source, partition from hook_position
    where source = $1 and hook = any ($2::text[]) and token <= $3
    order by hook, partition for update
)
update hook_position p set token = $3 from mine
where p.hook = mine.hook and p.source = mine.source and p.partition = mine.partition
returning p.hook, p.partition, p.number, p.epoch
"""

# `greatest`: a move whose answer was lost may be sent again, after a later one too.
_MOVE = """
with asked as materialized (
    select * from unnest($1::text[], $2::text[], $3::smallint[], $4::bigint[], $5::bigint[], $6::text[]) with ordinality
        as m (hook, source, partition, number, token, epoch, place)
), mine as materialized (
    select p.hook, p.source, p.partition, asked.number, asked.place
    from hook_position p join asked
        on p.hook = asked.hook and p.source = asked.source and p.partition = asked.partition and p.token = asked.token
        and p.epoch = asked.epoch
    order by p.hook, p.source, p.partition for update of p
)
update hook_position p set number = greatest(p.number, mine.number), attempts = 0, updated_at = now() from mine
where p.hook = mine.hook and p.source = mine.source and p.partition = mine.partition
returning mine.place
"""

_BURY = """
with moved as (
    update hook_position set number = greatest(number, $11), attempts = 0, updated_at = now()
    where hook = $1 and source = $2 and partition = $3 and token = $4 and epoch = $5 returning partition
), buried as (
    insert into hook_dead_letter (hook, source, partition, epoch, number, tenant, event, attempts, error)
    select $1, $2, $3, $5, $6, $7, $8::jsonb, $9, $10 from moved
    on conflict do nothing
)
select partition from moved
"""


@dataclass(frozen=True, slots=True)
class Place:
    """One hook on one partition of one log, under one lease."""

    hook: str
    source: str
    partition: int
    token: int
    epoch: str = ""
    """Of the log; a change for another epoch than the row's changes nothing."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it has come there."""

    number: int
    """Every event up to this one was dealt with or stands aside."""
    epoch: str = ""


@dataclass(frozen=True, slots=True)
class Move:
    """Everything up to this number has been dealt with or stands aside."""

    place: Place
    number: int


class PositionStore:
    """The rows. Every change is for a :class:`Place`; it says False, and changes nothing, when a newer lease has taken over."""

    def __init__(self, database: DatabaseManager) -> None:
        self._database = database

    async def unknown(self, source: str, hooks: Sequence[str]) -> list[str]:
        """Return those hooks that have no position in this log yet."""
        known = {row["hook"] for row in await self._database.fetch(_KNOWN, source, list(hooks))}
        return [hook for hook in hooks if hook not in known]

    async def add(self, source: str, hooks: Sequence[str], position: Position) -> None:
        """Let hooks begin at a position. Those that have one (another process was quicker) keep it."""
        await self._database.execute(_ADD, source, list(hooks), list(range(PARTITIONS)), list(position.numbers), position.epoch)

    async def take(self, source: str, hooks: Sequence[str], token: int) -> Mapping[str, Mapping[int, Progress]]:
        """Take over the hooks of a log and return where each stands; empty when a newer lease was here already."""
        taken: dict[str, dict[int, Progress]] = {}
        for row in await self._database.fetch(_TAKE, source, list(hooks), token):
            taken.setdefault(row["hook"], {})[row["partition"]] = Progress(row["number"], row["epoch"])
        return taken

    async def move(self, moves: Sequence[Move]) -> list[bool | Exception]:
        """Move positions on, all in one statement. A place stands in it once at most."""
        places = [move.place for move in moves]
        rows = await self._database.fetch(
            _MOVE,
            [place.hook for place in places],
            [place.source for place in places],
            [place.partition for place in places],
            [move.number for move in moves],
            [place.token for place in places],
            [place.epoch for place in places],
        )
        moved = {row["place"] for row in rows}
        return [number in moved for number in range(1, len(moves) + 1)]

    async def bury(self, place: Place, logged: LoggedEvent, attempts: int, error: str) -> bool:
        """Put an event to the dead letters and move on behind it, in one transaction."""
        event = logged.event.json().decode()
        return await self._bury(place, logged.number, logged.event.tenant, event, attempts, error, logged.number)

    async def bury_gap(self, place: Place, number: int, error: str, *, move_to: int) -> bool:
        """Put it on record that the events up to a number are gone, and move on."""
        return await self._bury(place, number, None, None, 0, error, move_to)

    async def _bury(self, place: Place, *values: object) -> bool:
        keys = (place.hook, place.source, place.partition, place.token, place.epoch)
        return await self._database.fetchval(_BURY, *keys, *values) is not None
