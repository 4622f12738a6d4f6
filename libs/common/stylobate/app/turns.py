"""Whose turn it is, when more wants to be done than a moment has room for: one of each address, round and round.

What strangers send costs the loop before anything is known of them, and whatever it does for one of them all others wait for.
So a long request is read piece by piece, a few connections in each round of the loop. And the number of requests is bounded that
are in the application and not admitted yet, that is not charged on the limits of whoever sent them.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
ADMITTED = "stylobate.admitted"
"""The key of an ASGI scope under which stands what to call when the request is charged: others may begin then."""
_READS_AT_ONCE = 4
"""Connections that may read in one round of the loop, of those that sent more than a short request."""


class FairQueue(Generic[T]):
    """A queue in which nobody waits behind all that one other has brought: one thing of each owner in turn, the first first."""

    def __init__(self) -> None:
        """Begin empty."""
        self._lines: dict[str, deque[T]] = {}
        """By owner, in the order of their turns."""

    def __bool__(self) -> bool:
        """Return whether anything waits."""
        return bool(self._lines)

    def put(self, owner: str, thing: T) -> None:
        """Add the thing behind those of its owner."""
        line = self._lines.get(owner)
        if line is None:
            line = self._lines[owner] = deque()
        line.append(thing)

    def pop(self) -> T:
        """Return the first thing of the owner whose turn it is. Raises StopIteration when nothing waits."""
        owner = next(iter(self._lines))
        line = self._lines.pop(owner)
        thing = line.popleft()
        if line:
            self._lines[owner] = line
        return thing


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
        if not self._waiting:
            self._loop.call_soon(self._grant)
        self._waiting.put(whose, reader)

    def _grant(self) -> None:
        for _ in range(_READS_AT_ONCE):
            self._waiting.pop().go_on_reading()
            if not self._waiting:
                return
        self._loop.call_soon(self._grant)


class Turn:
    """The right of one request to be in the application before it is admitted."""

    __slots__ = ("_turns",)

    def __init__(self, turns: "RequestTurns") -> None:
        self._turns: RequestTurns | None = turns

    def give_back(self) -> None:
        """Let another request begin; only the first call counts."""
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.pass_on()


class RequestTurns:
    """Bounds the requests that are in the application and not admitted yet; the others wait."""

    def __init__(self, most: int) -> None:
        """Begin with nobody inside."""
        self._free = most
        self._waiting = FairQueue[Callable[[Turn], bool]]()

    def take(self) -> Turn | None:
        """Return a turn when there is one to be had at once."""
        if not self._free:
            return None
        self._free -= 1
        return Turn(self)

    def wait(self, whose: str, begin: Callable[[Turn], bool]) -> None:
        """Call with a turn when it comes.

        :param begin: returns False when it has no use for the turn any more, since the client is gone.
        """
        self._waiting.put(whose, begin)

    def pass_on(self) -> None:
        """Give a turn that came back to the next who has a use for it."""
        while self._waiting:
            if self._waiting.pop()(Turn(self)):
                return
        self._free += 1
