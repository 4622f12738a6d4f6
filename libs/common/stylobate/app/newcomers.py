"""Requests of newcomers, which are those on whose connection nothing was admitted before: how many may be worked on at a time.

What a storm brings is work in many small steps: the head is read, the caller verified, the request charged, the answer
written. With hundreds of such requests at work together each round of the event loop takes as long as a step of all of them,
and a request on a connection that has long been there waits for a round at each of its own steps. With few at work a round is
short, and about as many end in a second.
"""

import math
from collections import deque

_AT_ONCE = 64
"""While the process is busy without a pause. Fewer make batches small: with 32 each costs half as much again. With more a round
is long: who is known takes as long as they do, by Little's law 20 ms where 3,000 end in a second."""
_STEP = 64
"""By how many more there may be from one look to the next, while it is not."""
_WAITING_AFTER = 5
"""Looks after which one that has not ended is taken to wait for something else, and counts no longer."""


class Newcomers:
    """Counts those that are worked on."""

    __slots__ = ("_born", "count", "limit")

    def __init__(self, *, is_bounded: bool) -> None:
        """Begin with none."""
        self.count = 0
        """Those that count: at work, less those that are taken to wait for something else."""
        self.limit: float = _STEP if is_bounded else math.inf
        """How many there may be."""
        self._born: deque[int] = deque([0])
        """For each of the last looks, how many that began before the next one count."""

    @property
    def may_begin(self) -> bool:
        """Whether there is room for another one."""
        return self.count < self.limit

    def begin(self) -> None:
        """Count one that begins."""
        self.count += 1
        self._born[-1] += 1

    def end(self, age: int) -> None:
        """Count one no longer, that began that many looks ago."""
        if age < len(self._born):
            self._born[-1 - age] -= 1
            self.count -= 1

    def look(self, *, is_busy: bool, is_late: bool) -> None:
        """Set their bound anew; called with each look.

        :param is_busy: the loop wants the processor without a pause. :param is_late: the loop was late just now.
        """
        self._born.append(0)
        while len(self._born) > _WAITING_AFTER:
            self.count -= self._born.popleft()
        if is_busy:
            self.limit = _AT_ONCE
        elif not is_late:  # else it may be these that make it late
            self.limit = self.count + _STEP
