"""Replies of several commands to several servers, with one future and one timer for all of them."""

import asyncio
from typing import Any

from stylobate.redis.faults import unavailable

_MISSING: Any = object()


class Replies:
    """Waits until each command has its reply, or its error, or the time is over."""

    __slots__ = ("_found", "_future", "_left", "_timer", "_within_s")

    def __init__(self, loop: asyncio.AbstractEventLoop, count: int, within_s: float | None) -> None:
        """Expect as many.

        :param within_s: seconds after which what is missing is RedisUnavailableError.
        """
        self._found: list[Any] = [_MISSING] * count
        self._left = count
        self._future: asyncio.Future[list[Any]] = loop.create_future()
        self._within_s = within_s or 0.0
        self._timer = None if within_s is None else loop.call_later(within_s, self._give_up)

    def put(self, number: int, reply: Any) -> None:
        """Take the reply to a command, or its error; what comes too late is dropped."""
        if self._found[number] is _MISSING and not self._future.done():
            self._found[number] = reply
            self._left -= 1
            if not self._left:
                self._future.set_result(self._found)

    def is_over(self, number: int) -> bool:
        """Return whether nobody waits for a reply any more."""
        return self._found[number] is not _MISSING or self._future.done()

    async def all(self) -> list[Any]:
        """Return all of them, errors as values."""
        try:
            return await self._future
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _give_up(self) -> None:
        for number, found in enumerate(self._found):
            if found is _MISSING:
                self.put(number, unavailable(f"no answer within {self._within_s:g} s"))


class ReplyTo:
    """What a connection gives the reply to one of them, in the place of a future."""

    __slots__ = ("_number", "_replies")

    def __init__(self, replies: Replies, number: int) -> None:
        self._replies = replies
        self._number = number

    def done(self) -> bool:
        """Return whether nobody waits any more."""
        return self._replies.is_over(self._number)

    def set_result(self, reply: Any) -> None:
        """Take it."""
        self._replies.put(self._number, reply)

    set_exception = set_result
