"""One timer wheel for all connections: a tick a second, instead of several timers each."""

from collections.abc import Callable
from math import ceil
from typing import Protocol


class Timed(Protocol):
    """Something with deadlines of its own."""

    due: int
    """The tick it is scheduled for; 0: none. Owned by the wheel."""

    def tick(self, now: float) -> float:
        """Do what is due and return the time of the next deadline; 0 when there is none."""


class TimerWheel:
    """Calls each timed object once its next deadline has passed, up to a second late.

    :param clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._slots: dict[int, list[Timed]] = {}
        self._next = int(clock()) + 1

    def schedule(self, timed: Timed, when: float) -> None:
        """Have the object called at a time, unless it already will be earlier."""
        tick = max(ceil(when), self._next)
        if timed.due and timed.due <= tick:
            return
        timed.due = tick
        self._slots.setdefault(tick, []).append(timed)

    def advance(self) -> None:
        """Call everything whose time has come. Called about once a second."""
        now = self._clock()
        while self._next <= now:
            tick, self._next = self._next, self._next + 1
            for timed in self._slots.pop(tick, ()):
                if timed.due != tick:
                    continue  # it was rescheduled to an earlier tick meanwhile
                timed.due = 0
                following = timed.tick(now)
                if following:
                    self.schedule(timed, following)
