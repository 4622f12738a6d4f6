"""Leaves one write per connection and loop turn: what is sent within a turn leaves together."""

import asyncio
from collections import deque
from typing import Protocol

_BATCH = 500
"""Connections flushed before the loop gets its turn: a large fan-out must not hold up everything else."""


class Flushed(Protocol):
    """Something with queued output."""

    def flush(self) -> None:
        """Write what is queued."""


class WriteQueue:
    """The connections with something to write."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._dirty: deque[Flushed] = deque()
        self._is_scheduled = False

    def add(self, flushed: Flushed) -> None:
        """Have it flushed at the end of this turn. Called once per connection until it was flushed."""
        self._dirty.append(flushed)
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        dirty = self._dirty
        try:
            for _ in range(min(len(dirty), _BATCH)):
                dirty.popleft().flush()
        finally:  # one connection's defect must not silence the others
            self._is_scheduled = bool(dirty)
            if dirty:
                self._loop.call_soon(self._flush)
