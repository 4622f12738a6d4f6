"""Positions and dead letters of durable hooks in PostgreSQL, fenced by lease token and epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

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


# All partitions of a hook at once, so that they are always of one epoch.
_REBASE = """
with asked as materialized (
    select * from unnest($5::smallint[], $6::bigint[], $7::bigint[], $8::text[]) as a (partition, number, lost, error)
), before as materialized (
    select p.partition, p.epoch, asked.number, asked.lost, asked.error from hook_position p join asked using (partition)
    where p.hook = $1 and p.source = $2 and p.token = $3 order by p.partition for update of p
), recorded as (
    insert into hook_dead_letter (hook, source, partition, epoch, number, attempts, error)
    select $1, $2, partition, epoch, lost, 0, error from before where error is not null
    on conflict do nothing
)
update hook_position p set number = before.number, epoch = $4, attempts = 0, updated_at = now() from before
where p.hook = $1 and p.source = $2 and p.partition = before.partition
returning p.partition
"""

_HELD = "select count(*) from hook_position where hook = $1 and source = $2 and token = $3"

_LISTING = """
select p.hook, p.source, max(p.epoch) as epoch, array_agg(p.number order by p.partition) as numbers,
       max(p.updated_at) as updated_at,
       (select count(*) from hook_aside a where a.hook = p.hook and a.source = p.source) as aside,
       (select count(*) from hook_dead_letter d where d.hook = p.hook and d.source = p.source) as dead
from hook_position p group by p.hook, p.source order by p.hook, p.source
"""

# The token rises, so that who works under the old one notices and begins anew from here.
_REWIND = """
with asked as materialized (select * from unnest($4::smallint[], $5::bigint[]) as a (partition, number)),
mine as materialized (
    select p.partition, asked.number from hook_position p join asked using (partition)
    where p.hook = $1 and p.source = $2 order by p.partition for update of p
)
update hook_position p set number = mine.number, epoch = $3, attempts = 0, token = token + 1, updated_at = now()
from mine where p.hook = $1 and p.source = $2 and p.partition = mine.partition
returning p.partition
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


@dataclass(frozen=True, slots=True)
class Standing:
    """A hook as the database has it, for whoever operates it."""

    hook: str
    source: str
    position: Position
    updated_at: datetime
    aside: int
    dead: int
    """Dead letters."""


@dataclass(frozen=True, slots=True)
class Rebased:
    """Where one partition goes on in another epoch, and what is missing between."""

    partition: int
    number: int
    lost: int = 0
    """The last number that is missing."""
    error: str | None = None
    """What goes on record; None: nothing is missing."""


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

    async def rebase(self, hook: str, source: str, token: int, epoch: str, places: Sequence[Rebased]) -> bool:
        """Go on in another epoch of the log, and put what is missing on record among the dead letters, in one transaction."""
        rows = await self._database.fetch(
            _REBASE,
            *(hook, source, token, epoch),
            [place.partition for place in places],
            [place.number for place in places],
            [place.lost for place in places],
            [place.error for place in places],
        )
        return bool(rows)

    async def listing(self) -> list[Standing]:
        """Return every hook that has a position, by name and source."""
        return [
            Standing(
                row["hook"],
                row["source"],
                Position.of(row["numbers"], row["epoch"]),
                row["updated_at"],
                row["aside"],
                row["dead"],
            )
            for row in await self._database.fetch(_LISTING)
        ]

    async def rewind(self, hook: str, source: str, position: Position) -> bool:
        """Let a hook go on from a position, whoever runs it; within some seconds where it is idle. False: there is none."""
        numbers = list(position.numbers)
        return bool(await self._database.fetch(_REWIND, hook, source, position.epoch, list(range(PARTITIONS)), numbers))

    async def holds(self, hook: str, source: str, token: int) -> bool:
        """Return whether the hook's positions are still this token's: nobody took over, or rewound them."""
        return bool(await self._database.fetchval(_HELD, hook, source, token))

    async def _bury(self, place: Place, *values: object) -> bool:
        keys = (place.hook, place.source, place.partition, place.token, place.epoch)
        return await self._database.fetchval(_BURY, *keys, *values) is not None
