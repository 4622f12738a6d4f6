"""The port to where durable hooks keep how far they have come, what stands aside and what was given up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from stylobate.outbox import Event, LoggedEvent, Position


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
class Move:
    """Everything up to this number has been dealt with or stands aside."""

    place: Place
    number: int


@dataclass(frozen=True, slots=True)
class HookStanding:
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


@dataclass(frozen=True, slots=True)
class Kept:
    """An event that stands aside."""

    seq: int
    logged: LoggedEvent
    attempts: int
    """How often it has failed."""
    age_s: float
    """How long it had stood aside when it was read."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What a hook gave up."""

    id: int
    """Names it, among those of one store."""
    hook: str
    source: str
    partition: int
    number: int
    event: Event | None
    """None: the end of a gap. The events up to ``number`` were gone before the hook read them."""
    attempts: int
    error: str
    time: datetime


class HookStore(Protocol):
    """Positions, events that stand aside, dead letters. Every method is one atomic step.

    Fencing: whoever takes over writes its lease's token into the positions. A change for a :class:`Place` whose token, or
    epoch, is not the position's any more says False and changes nothing, however late it arrives; one that is sent again after
    a lost answer says True and changes nothing more. Any method raises UnavailableError without an answer.
    """

    # positions

    async def unknown(self, source: str, hooks: Sequence[str]) -> list[str]:
        """Return those hooks that have no position in this log yet."""

    async def add(self, source: str, hooks: Sequence[str], position: Position) -> None:
        """Let hooks begin at a position. Those that have one (another process was quicker) keep it."""

    async def take(self, source: str, hooks: Sequence[str], token: int) -> Mapping[str, Position]:
        """Take over the hooks of a log and return where each stands; empty when a newer lease was here already.

        Every event up to a position was dealt with or stands aside.
        """

    async def holds(self, hook: str, source: str, token: int) -> bool:
        """Return whether the hook's positions are still this token's: nobody took over, or rewound them."""

    async def move(self, moves: Sequence[Move]) -> list[bool | Exception]:
        """Move positions on, never back, in one step; answer in the order of the moves. A place stands in it once at most."""

    async def bury(self, place: Place, logged: LoggedEvent, attempts: int, error: str) -> bool:
        """Put an event to the dead letters, once, and move on behind it."""

    async def bury_gap(self, place: Place, number: int, error: str, *, move_to: int) -> bool:
        """Put it on record, once, that the events up to a number are gone, and move on."""

    async def rebase(self, hook: str, source: str, token: int, epoch: str, places: Sequence[Rebased]) -> bool:
        """Go on in another epoch of the log, in all partitions, and put what is missing on record among the dead letters."""

    # events that stand aside, in the order in which they came

    async def put_aside(self, place: Place, logged: LoggedEvent) -> bool:
        """Let an event stand aside, once, and move the position behind it."""

    async def subjects_aside(self, hook: str, source: str) -> Mapping[int, Mapping[tuple[str, str], int]]:
        """Return how many events stand aside, by subject (tenant, subject), by partition; empty where there are none."""

    async def first_aside(self, place: Place, tenant: str, subject: str) -> Kept | None:
        """Return the first event of a subject; None when it has none."""

    async def failed_aside(self, place: Place, kept: Kept, attempts: int, error: str) -> bool:
        """Remember how often it has failed, for whoever goes on after us."""

    async def done_aside(self, place: Place, kept: Kept) -> bool:
        """Forget an event that was dealt with."""

    async def bury_aside(self, place: Place, kept: Kept, attempts: int, error: str) -> bool:
        """Put it to the dead letters."""

    # for whoever operates the hooks

    async def listing(self) -> list[HookStanding]:
        """Return every hook that has a position, by name and source."""

    async def rewind(self, hook: str, source: str, position: Position) -> bool:
        """Let a hook go on from a position, whoever runs it; within some seconds where it is idle. False: there is none."""

    async def dead_letters(self, *, hook: str = "", ids: Sequence[int] = (), most: int = 100) -> list[DeadLetter]:
        """Return dead letters, the newest first.

        :param hook: only this hook's; empty: every hook's.
        :param ids: only these; empty: all.
        """

    async def redrive(self, ids: Sequence[int]) -> list[int]:
        """Let the hooks run on these events once more, whoever runs them, and return which there were.

        Each stands aside, behind what stands aside of its subject already, with its failures forgotten. A gap has no event and
        stays; so does the letter of a hook that has no position any more.
        """

    async def drop(self, ids: Sequence[int]) -> list[int]:
        """Forget dead letters, and return which there were."""
