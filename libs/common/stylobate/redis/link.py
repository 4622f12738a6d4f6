"""One connection to the server: commands pipelined, replies in their order, parsed by hiredis."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis

from stylobate.redis.faults import OTHER_PROTOCOL, refusal, unavailable
from stylobate.redis.replies import ReplyTo

Argument = str | bytes | int | float
Reply = Any
"""bytes, int, None or a list of these."""

_NOTHING = object()


class _Together:
    """Stands for each of several commands: one future for all of their replies."""

    __slots__ = ("_future", "_left", "_replies")

    def __init__(self, future: "asyncio.Future[list[Reply]]", count: int) -> None:
        self._future = future
        self._left = count
        self._replies: list[Reply] = []

    def done(self) -> bool:
        """Return whether nobody waits any more."""
        return self._future.done()

    def set_result(self, reply: Reply) -> None:
        """Take the next reply; the last one settles the future."""
        self._replies.append(reply)
        self._left -= 1
        if not self._left:
            self._future.set_result(self._replies)

    set_exception = set_result


_Waiting = asyncio.Future[Reply] | _Together | ReplyTo


class Link(asyncio.Protocol):
    """A connected, authenticated connection. What is sent in one turn of the loop leaves in one write."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, timeout_s: float, pushed: Callable[[list[Any]], None] | None = None
    ) -> None:
        """Make one; see :func:`stylobate.redis.connecting.connect`.

        :param timeout_s: the oldest command may wait so long for its reply; then the connection counts as lost.
        :param pushed: takes every message once the connection subscribed; replies to commands are not expected then.
        """
        self._loop = loop
        self._timeout_s = timeout_s
        self._pushed = pushed
        self._reader = hiredis.Reader(notEnoughData=_NOTHING, replyError=refusal)
        self._waiting: deque[_Waiting] = deque()
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._received = 0
        self.is_entered = False
        self.peer: tuple[str, int] = ("", 0)
        """Host and port of the server; empty on a unix socket."""
        self.run_id = b""
        """Of the server, for as long as the connection lasts; empty where it does not tell."""
        self.is_subscriber = False
        self.lost: asyncio.Future[str] = loop.create_future()
        """Done when the connection is gone, with the reason."""

    @property
    def pending(self) -> int:
        """How many commands wait for their reply."""
        return len(self._waiting)

    @property
    def received(self) -> int:
        """How often bytes came in; a number that stands still is a silent server."""
        return self._received

    def send(self, *arguments: Argument) -> "asyncio.Future[Reply]":
        """Send a command; the future has its reply, or a redis-py ResponseError, or RedisUnavailableError."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        if self._transport is None:
            future.set_exception(unavailable("connection lost"))
            return future
        self.write(*arguments)
        self._waiting.append(future)
        self._watch()
        return future

    def send_for(self, reply: ReplyTo, *arguments: Argument) -> None:
        """Send a command whose reply goes there."""
        if self._transport is None:
            reply.set_result(unavailable("connection lost"))
            return
        self.write(*arguments)
        self._waiting.append(reply)
        self._watch()

    def send_all(self, commands: Sequence[Sequence[Argument]]) -> "asyncio.Future[list[Reply]]":
        """Send commands, at least one; the future has what each :meth:`send` would have, errors as values, in their order."""
        future: asyncio.Future[list[Reply]] = self._loop.create_future()
        if self._transport is None:
            future.set_result([unavailable("connection lost")] * len(commands))
            return future
        together = _Together(future, len(commands))
        for command in commands:
            self.write(*command)
        self._waiting.extend([together] * len(commands))
        self._watch()
        return future

    def _watch(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._look, self._waiting[0], self._received)

    def write(self, *arguments: Argument) -> None:
        """Send a command whose reply comes as a pushed message."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(hiredis.pack_command(arguments))  # type: ignore[arg-type]  # its stub knows tuples of one only

    def _flush(self) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def _look(self, oldest: "_Waiting", received: int) -> None:
        """Give up a server that did not answer the command that was the oldest at the last look and is it still."""
        self._timer = None
        if not self._waiting:
            return
        if self._waiting[0] is oldest and self._received == received:
            self.abort("no answer in time")
        else:
            self._timer = self._loop.call_later(self._timeout_s, self._look, self._waiting[0], self._received)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Give each reply to whom it belongs."""
        self._received += 1
        reader, waiting = self._reader, self._waiting
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not _NOTHING:
                if self.is_subscriber and self._pushed is not None:
                    self._pushed(reply)
                    continue
                future = waiting.popleft()
                if future.done():
                    continue  # its caller went away
                if isinstance(reply, Exception):
                    future.set_exception(reply)
                else:
                    future.set_result(reply)
        except (hiredis.ProtocolError, IndexError):
            self.abort(OTHER_PROTOCOL)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail everything that waits."""
        self._end(f"connection lost: {error}" if error else "connection closed by the server")

    def abort(self, reason: str) -> None:
        """Drop the connection at once."""
        transport = self._transport
        self._end(reason)
        if transport is not None:
            transport.abort()

    def _end(self, reason: str) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.lost.done():
            self.lost.set_result(reason)
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(unavailable(reason))
