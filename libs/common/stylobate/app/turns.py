"""Whose turn it is, when more wants to be done than a moment has room for: one of each address, round and round.

What strangers send costs the loop before anything is known of them, and whatever it does for one of them all others wait for.
So a long request is read piece by piece, a few connections in each round of the loop. When requests begin, see
:mod:`stylobate.app.request_turns`.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
_KNOWN_BETWEEN = 3
"""Of those who are known, how many go between two strangers, while both wait."""
_READS_AT_ONCE = 4
"""Connections that may read in one round of the loop, of those that sent more than a short request."""


class FairQueue(Generic[T]):
    """A queue in which nobody waits behind all that one other has brought: one thing of each owner in turn, the first first."""

    def __init__(self) -> None:
        """Begin empty."""
        self._lines: dict[str, deque[T]] = {}
        """By owner, in the order of their turns."""
        self.count = 0
        """How many things wait."""

    def put(self, owner: str, thing: T) -> None:
        """Add the thing behind those of its owner."""
        line = self._lines.get(owner)
        if line is None:
            line = self._lines[owner] = deque()
        line.append(thing)
        self.count += 1

    def before(self, owner: str) -> int:
        """Return how many things at most have their turn before one that the owner would bring now."""
        return min(self.count, (len(self._lines.get(owner, ())) + 1) * len(self._lines))

    def pop(self) -> T:
        """Return the first thing of the owner whose turn it is. Raises StopIteration when nothing waits."""
        owner = next(iter(self._lines))
        line = self._lines.pop(owner)
        thing = line.popleft()
        self.count -= 1
        if line:
            self._lines[owner] = line
        return thing

    def shed(self, is_stale: Callable[[T], bool]) -> list[T]:
        """Take out and return what is stale; behind what is not nothing is looked at."""
        found = []
        for owner, line in tuple(self._lines.items()):
            while line and is_stale(line[0]):
                found.append(line.popleft())
            if not line:
                del self._lines[owner]
        self.count -= len(found)
        return found


class RankedQueue(Generic[T]):
    """Two fair queues: who is known goes first, but while strangers wait every fourth turn is one of theirs.

    So a storm of newcomers holds nobody up who is connected already, and those who are connected keep nobody out.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self._known, self._strangers = FairQueue[T](), FairQueue[T]()
        self._passed = 0
        """How many who are known went since the last stranger."""
        self.count = 0
        """How many things wait."""

    def put(self, owner: str, thing: T, *, is_known: bool) -> None:
        """Add the thing behind those of its owner that are of its rank."""
        (self._known if is_known else self._strangers).put(owner, thing)
        self.count += 1

    def before(self, owner: str, *, is_known: bool) -> int:
        """Return how many things at most have their turn before one that the owner would bring now."""
        own, others = (self._known, self._strangers) if is_known else (self._strangers, self._known)
        first = own.before(owner)
        return first + min(others.count, first // _KNOWN_BETWEEN + 1 if is_known else (first + 1) * _KNOWN_BETWEEN)

    @property
    def known_count(self) -> int:
        """How many things wait of those who are known."""
        return self._known.count

    @property
    def stranger_count(self) -> int:
        """How many wait of the others."""
        return self._strangers.count

    def pop(self, *, may_strangers: bool = True) -> T:
        """Return the thing whose turn it is. Raises StopIteration when nothing waits.

        :param may_strangers: else one of who is known.
        """
        is_strangers = may_strangers and (not self._known.count or (self._passed >= _KNOWN_BETWEEN and self._strangers.count > 0))
        thing = (self._strangers if is_strangers else self._known).pop()
        self._passed = 0 if is_strangers else self._passed + 1
        self.count -= 1
        return thing

    def shed(self, is_stale: Callable[[T], bool]) -> list[T]:
        """Take out and return what is stale; behind what is not nothing is looked at."""
        found = self._known.shed(is_stale) + self._strangers.shed(is_stale)
        self.count -= len(found)
        return found


class Reader(Protocol):
    """What reading in turns asks of a connection."""

    def hold_reading(self) -> None:
        """Read nothing more for now."""

    def go_on_reading(self) -> None:
        """Read again."""


class ReadingTurns:
    """Who has sent a long piece waits for the others before the next one is read."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin with nobody waiting."""
        self._loop = loop
        self._waiting = FairQueue[Reader]()

    def wait(self, whose: str, reader: Reader) -> None:
        """Hold the connection until its turn comes."""
        reader.hold_reading()
        if not self._waiting.count:
            self._loop.call_soon(self._grant)
        self._waiting.put(whose, reader)

    def _grant(self) -> None:
        for _ in range(_READS_AT_ONCE):
            self._waiting.pop().go_on_reading()
            if not self._waiting.count:
                return
        self._loop.call_soon(self._grant)
