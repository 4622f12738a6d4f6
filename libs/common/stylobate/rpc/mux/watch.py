"""Whether the other end of a connection still says something."""

import asyncio
from typing import Protocol

LOOK_S = 0.5


class Watched(Protocol):
    """An end of a connection, as its watch knows it."""

    @property
    def idle_looks(self) -> int:
        """Looks without a word after which the other end is asked whether it is there."""

    @property
    def waiting(self) -> int:
        """Octets that the other end has yet to take."""

    def ping(self, payload: bytes) -> None:
        """Ask."""

    def unanswered(self, looks: int) -> None:
        """Take note that there was no answer for that many looks."""


class Watch:
    """Looks now and then; where nothing was said since, asks, and tells how long there has been no answer.

    It counts looks and asks no clock: between two of them the loop reads what has come, however late the second one is. So a
    process that was held up itself does not take the other one for silent.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, end: Watched) -> None:
        self.look_s = LOOK_S
        self.is_heard = True
        """Whether something came since the last look; set by who reads."""
        self._loop, self._end = loop, end
        self._quiet = 0
        """Looks without a word."""
        self._asked_at = 0
        """How many they were when it was asked; 0: it was not."""
        self._last_waiting = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_silent(self) -> bool:
        """Whether the other end was asked, had time to answer, and did not yet."""
        return not self.is_heard and 0 < self._asked_at < self._quiet

    def look(self) -> None:
        """Look, and again in a while. That the other end takes what is sent counts as a word: it may be slow."""
        end, waiting = self._end, self._end.waiting
        self._timer = self._loop.call_later(self.look_s, self.look)
        if self.is_heard or waiting < self._last_waiting:
            self.is_heard, self._quiet, self._asked_at = False, 0, 0
        else:
            self._quiet += 1
            if self._asked_at:
                end.unanswered(self._quiet - self._asked_at)
            elif self._quiet >= end.idle_looks:
                self._asked_at = self._quiet
                end.ping(bytes(8))
        self._last_waiting = waiting

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
