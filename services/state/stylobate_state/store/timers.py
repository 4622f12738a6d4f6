"""The port to the queue of timers. What an object waits for stands in the object; the queue knows when to look."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from stylobate_state.model import StateKey, TimerStart


@dataclass(frozen=True, slots=True)
class DueTimer:
    """A timer whose time has come; the object may have moved on."""

    key: StateKey
    event: str
    since: int
    """The version that set it."""
    owner: str
    """The object's."""
    late: timedelta
    tries: int
    """How often it was put off."""


@dataclass(frozen=True, slots=True)
class DueTimers:
    """What is to be done now, the oldest first, and when to look again."""

    timers: Sequence[DueTimer]
    next_in: timedelta | None
    """Until the next one is due; None: none waits."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A step of giving a timer to objects that wait already."""

    count: int
    """How many got it."""
    is_done: bool


class TimerStore(Protocol):
    """Knows which timers are due. A change of an object writes and removes its timers itself, see StateStore.write.

    Every method is one atomic step, may be made by several processes at once, and raises DatabaseUnavailableError. What would
    change objects of a namespace that stands elsewhere by now raises StateMovedError.
    """

    async def due(self, limit: int) -> DueTimers:
        """Return the oldest timers that are due."""

    async def put_off(self, timers: Sequence[DueTimer], by: timedelta) -> None:
        """Let them be due later, and count the try. What the object shows stays."""

    async def spend(self, timers: Sequence[DueTimer]) -> None:
        """Take them out of the queue; an object that still has one shows it no more, and does not get it again by a fill."""

    async def fill(self, namespace: str, status: str, start: TimerStart, limit: int) -> Filled:
        """Give a timer to the next objects that stand in the status without it, counted from now; looks at ``limit`` objects.

        Goes on where it stopped, in whichever process, and is done once it came to the end.
        """

    async def forget_fills(self, namespace: str, declared: Sequence[tuple[str, str]]) -> None:
        """Forget the fills of all timers but these, ``(status, event)``: one that comes back is filled anew."""
