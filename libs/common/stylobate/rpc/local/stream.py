"""The caller's side of one local call with a stream of responses."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context as EmptyContext
from typing import Any, Self

import grpc
import grpc.aio

from stylobate.rpc.local.context import LocalContext, too_large
from stylobate.rpc.local.server import LocalServer
from stylobate.rpc.method import MAX_MESSAGE_BYTES, Behaviour

_CANCELLED = "Locally cancelled by application!"
_DROPPED = "Cancelled upon garbage collection!"
_EXPIRED = "Deadline Exceeded"
_MAX_WAITING = 16
_MAX_WAITING_BYTES = 1024 * 1024


class StreamExchange:
    """What lies between handler and caller: encoded messages that wait, and the outcome.

    The handler waits when 16 messages or 1 MiB lie unread. The server holds the exchange, never the caller's call: so a
    caller that drops its iterator ends the call.
    """

    task: asyncio.Task[None]
    _timer: asyncio.TimerHandle | None = None

    def __init__(self, server: LocalServer, loop: asyncio.AbstractEventLoop, context: LocalContext) -> None:
        self.loop = loop
        self.context = context
        self.is_cancelled = False
        self.outcome: grpc.aio.AioRpcError | None = None
        self.ended: asyncio.Future[None] = loop.create_future()
        self._server = server
        self._messages: deque[bytes] = deque()
        self._size = 0
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        context.stream_to(self._put)

    def begin(self, behaviour: Behaviour, data: bytes, timeout: float | None) -> None:
        """Start the handler: in a task of its own, in an empty context."""
        self.task = asyncio.Task(self._serve(behaviour, data), loop=self.loop, context=EmptyContext())
        self._server.live.add(self)
        if timeout is not None:
            if timeout > 0:
                self._timer = self.loop.call_later(timeout, self._expire)
            else:
                self._expire()

    async def _serve(self, behaviour: Behaviour, data: bytes) -> None:
        context = self.context
        error: grpc.aio.AioRpcError | None = None
        try:
            if len(data) > MAX_MESSAGE_BYTES:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, too_large(data))
            await behaviour(data, context)
            if context.code() not in {None, grpc.StatusCode.OK}:
                error = context.failure()
        except grpc.aio.AbortError:
            error = context.failure()
        except asyncio.CancelledError:
            error = context.failure(grpc.StatusCode.CANCELLED)
        except Exception as unexpected:  # noqa: BLE001  as a real server does: the caller is told, the process goes on
            error = context.failure(grpc.StatusCode.UNKNOWN, f"Unexpected {type(unexpected).__name__}")
        self._finish(error)
        self._server.live.discard(self)
        context.finish()

    async def _put(self, message: bytes) -> None:
        while self._messages and (len(self._messages) >= _MAX_WAITING or self._size + len(message) > _MAX_WAITING_BYTES):
            self._writer = self.loop.create_future()
            await self._writer
        if self.ended.done():
            raise grpc.aio.InternalError("the call has ended")
        self._messages.append(message)
        self._size += len(message)
        _wake(self._reader)

    async def get(self) -> bytes | None:
        """Return the next message; None at the end. Raises AioRpcError, CancelledError."""
        while not self._messages:
            if self.ended.done():
                if self.is_cancelled:
                    raise asyncio.CancelledError
                if self.outcome is not None:
                    raise self.outcome
                return None
            self._reader = self.loop.create_future()
            await self._reader
        message = self._messages.popleft()
        self._size -= len(message)
        _wake(self._writer)
        return message

    def cancel(self, details: str) -> bool:
        """Give the call up from the caller's side."""
        if self.ended.done():
            return False
        self.is_cancelled = True
        self.end(grpc.StatusCode.CANCELLED, details)
        return True

    def end(self, code: grpc.StatusCode, details: str) -> None:
        """Answer the caller now, without what it has not read, and cancel the handler."""
        if self.ended.done():
            return
        self._messages.clear()
        self._size = 0
        self._finish(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details))
        if not self.task.done():
            self.task.add_done_callback(self._forget)
            self.task.cancel()

    def _expire(self) -> None:
        self.end(grpc.StatusCode.DEADLINE_EXCEEDED, _EXPIRED)

    def _finish(self, error: grpc.aio.AioRpcError | None) -> None:
        if not self.ended.done():
            self.outcome = error
            self.ended.set_result(None)
            _wake(self._reader)
        if self._timer is not None:
            self._timer.cancel()

    def _forget(self, _: asyncio.Task[None]) -> None:
        self._server.live.discard(self)
        if not self.context.done():
            self.context.finish()


class LocalStreamCall(grpc.aio.UnaryStreamCall[Any, Any]):
    """The caller's handle: its own iterator, and the end of the call when it is dropped."""

    def __init__(self, exchange: StreamExchange, decode: Callable[[bytes], Any] | None) -> None:
        self._exchange = exchange
        self._decode = decode

    def __aiter__(self) -> Self:
        """Iterate over the messages."""
        return self

    async def __anext__(self) -> Any:
        """Return the next message."""
        message = await self.read()
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return message

    async def read(self) -> Any:
        """Return the next message, ``grpc.aio.EOF`` at the end. Raises AioRpcError, CancelledError."""
        try:
            data = await self._exchange.get()
        except asyncio.CancelledError:
            self._exchange.cancel(_CANCELLED)
            raise
        if data is None:
            return grpc.aio.EOF
        return self._decode(data) if self._decode is not None else data

    def __del__(self) -> None:
        """Give the call up when nobody can read it any more, as a real channel does."""
        exchange = self._exchange
        if not exchange.ended.done() and not exchange.loop.is_closed():
            exchange.loop.call_soon_threadsafe(exchange.cancel, _DROPPED)  # garbage is collected in any thread

    def cancel(self) -> bool:
        """Give the call up: reading raises CancelledError, the handler is cancelled."""
        return self._exchange.cancel(_CANCELLED)

    def cancelled(self) -> bool:
        """Return whether it was cancelled on this side."""
        return self._exchange.is_cancelled

    def done(self) -> bool:
        """Return whether the status is known."""
        return self._exchange.ended.done()

    def time_remaining(self) -> float | None:
        """Return the seconds left; None without a deadline."""
        remaining: float | None = self._exchange.context.time_remaining()
        return remaining

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call back when the status is known."""
        self._exchange.ended.add_done_callback(lambda _: callback(self))

    async def initial_metadata(self) -> grpc.aio.Metadata:
        """Wait for what the handler sent ahead."""
        return await self._exchange.context.initial()

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        """Wait for what came with the status."""
        error = await self._error()
        if error is not None:
            return error.trailing_metadata()
        return grpc.aio.Metadata(*self._exchange.context.trailing_metadata())

    async def code(self) -> grpc.StatusCode:
        """Wait for the status."""
        error = await self._error()
        return grpc.StatusCode.OK if error is None else error.code()

    async def details(self) -> str:
        """Wait for the text of the status."""
        error = await self._error()
        return "" if error is None else error.details() or ""

    async def wait_for_connection(self) -> None:
        """Return at once: there is no connection."""

    async def _error(self) -> grpc.aio.AioRpcError | None:
        await asyncio.wait([self._exchange.ended])
        return self._exchange.outcome


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
