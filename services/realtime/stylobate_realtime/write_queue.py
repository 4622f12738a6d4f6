"""What waits to be written: one write per connection and turn of the loop, and how much waits in all."""

import asyncio
from collections import deque
from typing import Protocol

from stylobate import telemetry

JOINED = 16_384
"""Bytes of frames that leave as one write. Longer ones are not copied: a publication is shared by many."""
CALM = 65_536
"""Bytes that may wait for a client without it being behind."""
_BATCH = 500
"""Connections written to before the loop gets its turn: a large fan-out must not hold up everything else."""


class Flushed(Protocol):
    """Something with queued output."""

    def flush(self) -> None:
        """Write what is queued."""


class Held(Protocol):
    """What is yet to be queued for many, or written straight to them."""

    def queue(self) -> None:
        """Queue it with each."""

    def write(self, most: int) -> int:
        """Write it to this number of them; return what is left of the number: 0 while some are without it."""


class WriteQueue:
    """The connections with something to write, and what is yet to be queued for many of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._batch = _BATCH
        self._ahead: Held | None = None
        self._dirty: deque[Flushed] = deque()
        self._is_scheduled = False

    def add(self, flushed: Flushed) -> None:
        """Have it flushed at the end of this turn. Called once per connection until it was flushed."""
        self._dirty.append(flushed)
        if not self._is_scheduled:
            self._schedule()

    def hold(self, ahead: Held) -> None:
        """Have it written at the end of this turn, or queued by :meth:`settle`. Called once until then."""
        self._ahead = ahead
        if not self._is_scheduled:
            self._schedule()

    def settle(self) -> None:
        """Queue what is held. Whoever queues something of a connection's own calls it first, so that all stays in order."""
        if (ahead := self._ahead) is not None:
            self._ahead = None
            ahead.queue()

    def _schedule(self) -> None:
        self._is_scheduled = True
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        dirty, left = self._dirty, self._batch
        try:
            if dirty:
                self.settle()  # who waits already is not overtaken
            elif self._ahead is not None and (left := self._ahead.write(left)):
                self._ahead = None
            for _ in range(min(len(dirty), left)):
                dirty.popleft().flush()
        finally:  # one connection's defect must not silence the others
            self._is_scheduled = bool(dirty) or self._ahead is not None
            if self._is_scheduled:
                self._loop.call_soon(self._flush)


class Unsent:
    """Counts the bytes that wait for clients that are behind and are held for one client alone.

    A publication waits in many connections and is held once: it is not counted here, but in each connection's own limit.

    :param limit: bytes; beyond it whoever is behind and is sent more is too slow.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._total = 0
        self._gauge = telemetry.gauge("realtime_unsent_bytes", "Answers that wait for clients that are behind.")

    @property
    def is_full(self) -> bool:
        """Whether more waits than may."""
        return self._total > self._limit

    def add(self, size: int) -> None:
        """Count bytes; negative ones were sent, or given up."""
        self._total += size
        self._gauge.set(self._total)
