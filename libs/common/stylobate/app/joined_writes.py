"""A transport whose writes of one turn of the loop leave together, and which knows whether the client takes them.

uvicorn writes the head and the body of an answer apart, and uvloop passes every write to the system at once. What is written
in one turn is joined here: one system call, one packet and one wake-up of the peer fewer per request.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from stylobate.app.http_bounds import SLOWEST

_MOST_HELD = 64 * 1024


class TurnEnd:
    """Writes what all connections of a loop hold when its turn ends.

    What is answered in one turn leaves together: a client that is woken by the first answer wants the processor before the
    others are made, and its next request would begin a batch of its own.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._held: deque[JoinedWrites] = deque()

    def add(self, writes: "JoinedWrites") -> None:
        """Have it flushed when the turn ends."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(writes)

    def _flush(self) -> None:
        try:
            while self._held:
                self._held.popleft().flush()
        finally:
            if self._held:  # one could not be written: that is nothing to the others
                self._loop.call_soon(self._flush)


class JoinedWrites:
    """A transport that holds back what is written until the loop's turn ends; everything else goes straight through.

    More than 64 KiB are not held, nor copied: a long answer is written as it comes, so that the transport can say when it is
    full.
    """

    __slots__ = (
        "_held", "_is_held", "_is_paused", "_is_unfinished", "_mark", "_since", "_size", "_turn", "_written", "is_closing",
        "transport",
    )  # fmt: skip

    def __init__(self, transport: asyncio.Transport, turn: TurnEnd, is_unfinished: Callable[[], bool] = lambda: False) -> None:
        """Stand before the transport.

        :param turn: flushes what is held when the turn ends.
        :param is_unfinished: asked at the close whether the peer is still sending, and sees to the end itself then.
        """
        self.transport = transport
        self.is_closing = transport.is_closing  # asked several times for each request
        self._is_unfinished = is_unfinished
        self._written = 0
        """Bytes passed on to the transport so far."""
        self._since = -1.0
        """When the wait began for what is not taken; negative: all is."""
        self._mark = 0
        """What had been taken then."""
        self._turn = turn
        self._held: list[bytes] = []
        self._size = 0
        self._is_paused = False
        self._is_held = False

    def __getattr__(self, name: str) -> Any:
        """Return the transport's own attribute."""
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        """Hold the data until the turn ends."""
        if not self._held:
            self._turn.add(self)
        size = len(data)
        if size > _MOST_HELD:
            self.flush()
            self._written += size
            self.transport.write(data)
            return
        self._held.append(data)
        self._size += size
        if self._size > _MOST_HELD:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            self._written += self._size
            self.transport.write(b"".join(self._held))
            self._held.clear()
            self._size = 0

    def close(self) -> None:
        """Close after what is held."""
        self.flush()
        if not self._is_unfinished():
            self.transport.close()

    def pause_reading(self) -> None:
        """Read nothing more until :meth:`resume_reading`."""
        self._is_paused = True
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again, unless reading is held."""
        self._is_paused = False
        if not self._is_held:
            self.transport.resume_reading()

    def hold_reading(self) -> None:
        """Read nothing more until :meth:`go_on_reading`, whatever is resumed meanwhile."""
        self._is_held = True
        self.transport.pause_reading()

    def go_on_reading(self) -> None:
        """Read again, unless reading is paused."""
        self._is_held = False
        if not self._is_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def forget(self) -> None:
        """Let go of who asked to be told of the close: the connection is lost, and nothing is to wait for the collector."""
        self._is_unfinished = bool

    def write_eof(self) -> None:
        """End the writing side after what is held."""
        self.flush()
        if self.transport.can_write_eof():  # TLS cannot say it
            self.transport.write_eof()

    @property
    def unsent(self) -> int:
        """Bytes that wait in this process, of what was passed on."""
        size: int = self.get_write_buffer_size()
        return size

    @property
    def taken(self) -> int:
        """Bytes that have left this process so far."""
        return self._written - self.unsent

    def is_stuck(self, now: float, limit_s: float) -> bool:
        """Return whether too little was taken over the whole deadline. Asked now and then; it costs nothing in between."""
        if not self.unsent:
            self._since = -1.0
            return False
        taken = self.taken
        if self._since < 0:
            self._since, self._mark = now, taken
        elif now - self._since > limit_s:
            if taken - self._mark < SLOWEST * limit_s:
                return True
            self._since, self._mark = now, taken
        return False
