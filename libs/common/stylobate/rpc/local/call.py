"""The caller's side of one local call with one response."""

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context as EmptyContext
from typing import Any

import grpc
import grpc.aio

from stylobate.rpc.local.context import LocalContext, too_large
from stylobate.rpc.local.server import LocalServer
from stylobate.rpc.method import MAX_MESSAGE_BYTES, Behaviour

_CANCELLED = "Locally cancelled by application!"
_EXPIRED = "Deadline Exceeded"


class LocalUnaryCall(grpc.aio.UnaryUnaryCall[Any, Any]):
    """A call under way. The handler runs whether or not anyone awaits it, as over a network.

    What came of it lies in one future: the encoded response or the error, so that nobody has to ask for either.
    """

    task: asyncio.Task[None]
    _timer: asyncio.TimerHandle | None = None

    def __init__(
        self,
        server: LocalServer,
        loop: asyncio.AbstractEventLoop,
        context: LocalContext,
        decode: Callable[[bytes], Any] | None,
    ) -> None:
        self._server = server
        self._loop = loop
        self._context = context
        self._decode = decode
        self._outcome: asyncio.Future[bytes | grpc.aio.AioRpcError] = loop.create_future()

    def begin(self, behaviour: Behaviour, data: bytes, timeout: float | None) -> None:
        """Start the handler: in a task of its own, in an empty context."""
        loop = self._loop
        self.task = asyncio.Task(self._serve(behaviour, data), loop=loop, context=EmptyContext())
        self._server.live.add(self)
        if timeout is not None:
            if timeout > 0:
                self._timer = loop.call_later(timeout, self._expire)
            else:
                self._expire()

    async def _serve(self, behaviour: Behaviour, data: bytes) -> None:
        """Run the handler; whatever happens goes into the outcome, never into the task."""
        context = self._context
        result: bytes | grpc.aio.AioRpcError
        try:
            if len(data) > MAX_MESSAGE_BYTES:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, too_large(data))
            result = await behaviour(data, context)
            if context._code is not None and context._code is not grpc.StatusCode.OK:  # noqa: SLF001  the hot path
                result = context.failure()
            elif len(result) > MAX_MESSAGE_BYTES:
                result = context.failure(grpc.StatusCode.RESOURCE_EXHAUSTED, too_large(result))
        except grpc.aio.AbortError:
            result = context.failure()
        except asyncio.CancelledError:
            result = context.failure(grpc.StatusCode.CANCELLED)
        except Exception as error:  # noqa: BLE001  as a real server does: the caller is told, the process goes on
            result = context.failure(grpc.StatusCode.UNKNOWN, f"Unexpected {type(error).__name__}")
        if not self._outcome.done():
            self._outcome.set_result(result)
        if self._timer is not None:
            self._timer.cancel()
        self._server.live.discard(self)
        context.finish()

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the response. Raises AioRpcError; CancelledError when the call was cancelled on this side."""
        outcome = self._outcome
        if not outcome.done():
            try:
                yield from outcome
            except asyncio.CancelledError:
                self._drop()
                raise
        result = outcome.result()
        if isinstance(result, bytes):
            return self._decode(result) if self._decode is not None else result
        raise _again(result)  # one that this call does not keep: else call and traceback keep each other for the collector

    def _expire(self) -> None:
        self.end(grpc.StatusCode.DEADLINE_EXCEEDED, _EXPIRED)

    def end(self, code: grpc.StatusCode, details: str) -> None:
        """Answer the caller now and cancel the handler."""
        if not self._outcome.done():
            self._outcome.set_result(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details))
            self._drop()

    def cancel(self) -> bool:
        """Give the call up: awaiting it raises CancelledError, the handler is cancelled."""
        if self._outcome.done():
            return False
        self._outcome.cancel()
        self._drop()
        return True

    def _drop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self.task.done():
            # A task that is cancelled before its first step never runs, so it cannot take itself off the list.
            self.task.add_done_callback(self._forget)
            self.task.cancel()

    def _forget(self, _: asyncio.Task[None]) -> None:
        self._server.live.discard(self)
        if not self._context.done():
            self._context.finish()

    def cancelled(self) -> bool:
        """Return whether it was cancelled on this side."""
        return self._outcome.cancelled()

    def done(self) -> bool:
        """Return whether the outcome is known."""
        return self._outcome.done()

    def time_remaining(self) -> float | None:
        """Return the seconds left; None without a deadline."""
        remaining: float | None = self._context.time_remaining()
        return remaining

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call back when the outcome is known."""
        self._outcome.add_done_callback(lambda _: callback(self))

    async def initial_metadata(self) -> grpc.aio.Metadata:
        """Wait for what the handler sent ahead."""
        return await self._context.initial()

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        """Wait for what came with the status."""
        error = await self._error()
        return grpc.aio.Metadata(*self._context.trailing_metadata()) if error is None else error.trailing_metadata()

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
        await asyncio.wait([self._outcome])
        if self._outcome.cancelled():
            return grpc.aio.AioRpcError(grpc.StatusCode.CANCELLED, grpc.aio.Metadata(), grpc.aio.Metadata(), _CANCELLED)
        result = self._outcome.result()
        return result if isinstance(result, grpc.aio.AioRpcError) else None


def _again(error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
    """Return an error like it."""
    return grpc.aio.AioRpcError(error.code(), error.initial_metadata(), error.trailing_metadata(), error.details())
