# ruff: noqa: D102  most methods are documented by grpc.aio
"""A local call: how it is begun, the handler's run, and what the caller holds of it."""

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context as EmptyContext
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from stylobate.rpc.local.context import LocalContext, too_large
from stylobate.rpc.method import MAX_MESSAGE_BYTES, Behaviour, Context, Decode, Encode, Metadata

if TYPE_CHECKING:
    from stylobate.rpc.local.channel import LocalChannel, LocalServer

_CANCELLED = "Locally cancelled by application!"
_EXPIRED = "Deadline Exceeded"


class LocalCall(grpc.aio.Call):
    """A call under way. The handler runs, in a task of its own and in an empty context, whether or not anyone awaits it.

    What came of it lies in one future: the encoded response or the error, so that nobody has to ask for either.
    """

    _timer: asyncio.TimerHandle | None = None

    def __init__(  # noqa: PLR0917  the hot path: by position
        self,
        server: "LocalServer",
        loop: asyncio.AbstractEventLoop,
        behaviour: Behaviour,
        data: bytes,
        metadata: Metadata,
        timeout: float | None,
        decode: Decode,
    ) -> None:
        self._server = server
        self._loop = loop
        self._decode = decode
        self.context = LocalContext(loop, metadata, None if timeout is None else loop.time() + timeout)
        self.outcome: asyncio.Future[bytes | grpc.aio.AioRpcError] = loop.create_future()
        self.task = asyncio.Task(self._serve(behaviour, data), loop=loop, context=EmptyContext())
        server.live.add(self)
        if timeout is not None:
            if timeout > 0:
                self._timer = loop.call_later(timeout, self.end, grpc.StatusCode.DEADLINE_EXCEEDED, _EXPIRED)
            else:
                self.end(grpc.StatusCode.DEADLINE_EXCEEDED, _EXPIRED)

    async def _serve(self, behaviour: Behaviour, data: bytes) -> None:
        """Run the handler; whatever happens goes into the outcome, never into the task."""
        context = self.context
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
        if not self.outcome.done():
            self.outcome.set_result(result)
        if self._timer is not None:
            self._timer.cancel()
        self._server.live.discard(self)
        context.finish()

    def end(self, code: grpc.StatusCode, details: str) -> None:
        """Answer the caller now and cancel the handler."""
        if not self.outcome.done():
            self.outcome.set_result(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details))
            self._drop()

    def cancel(self) -> bool:
        """Give the call up: waiting for it raises CancelledError, the handler is cancelled."""
        if self.outcome.done():
            return False
        self.outcome.cancel()
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
        if not self.context.done():
            self.context.finish()

    # as grpc.aio has it

    def cancelled(self) -> bool:
        return self.outcome.cancelled()

    def done(self) -> bool:
        return self.outcome.done()

    def time_remaining(self) -> float | None:
        remaining: float | None = self.context.time_remaining()
        return remaining

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self.outcome.add_done_callback(lambda _: callback(self))

    async def initial_metadata(self) -> grpc.aio.Metadata:
        return await self.context.initial()

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        error = await self._error()
        return grpc.aio.Metadata(*self.context.trailing_metadata()) if error is None else error.trailing_metadata()

    async def code(self) -> grpc.StatusCode:
        error = await self._error()
        return grpc.StatusCode.OK if error is None else error.code()

    async def details(self) -> str:
        error = await self._error()
        return "" if error is None else error.details() or ""

    async def wait_for_connection(self) -> None:
        """Return at once: there is no connection."""

    async def _error(self) -> grpc.aio.AioRpcError | None:
        await asyncio.wait([self.outcome])
        if self.outcome.cancelled():
            return grpc.aio.AioRpcError(grpc.StatusCode.CANCELLED, grpc.aio.Metadata(), grpc.aio.Metadata(), _CANCELLED)
        result = self.outcome.result()
        return result if isinstance(result, grpc.aio.AioRpcError) else None


class LocalUnaryCall(LocalCall, grpc.aio.UnaryUnaryCall[Any, Any]):
    """A call with one response."""

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the response. Raises AioRpcError; CancelledError when the call was cancelled on this side."""
        outcome = self.outcome
        if not outcome.done():
            try:
                yield from outcome
            except asyncio.CancelledError:
                self._drop()
                raise
        result = outcome.result()
        if isinstance(result, bytes):
            return self._decode(result) if self._decode is not None else result
        raise again(result)


def again(error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
    """Return an error like it, which its call does not keep: else call and traceback keep each other for the collector."""
    return grpc.aio.AioRpcError(error.code(), error.initial_metadata(), error.trailing_metadata(), error.details())


class LocalUnaryMethod:
    """Calls one method with one response. Its chain is looked up at the first call that finds it."""

    call: type[LocalCall] = LocalUnaryCall

    def __init__(self, channel: "LocalChannel", method: str, encode: Encode, decode: Decode) -> None:
        self._channel = channel
        self._server = channel.server
        self._method = method
        self._encode = encode
        self._decode = decode
        self._found: Behaviour | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # kept: asking for it is a system call

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        wait_for_ready: bool | None = None,
        **_: Any,
    ) -> Any:
        """Begin the call. ``credentials`` and ``compression`` have no meaning inside a process."""
        server, behaviour, loop = self._server, self._found, self._loop
        if behaviour is None or loop is None or not server.is_accepting or self._channel.is_closed:
            loop = self._loop = asyncio.get_running_loop()
            behaviour = self._behaviour(wait_for_ready=wait_for_ready)
        data = request if self._encode is None else self._encode(request)
        return self.call(server, loop, behaviour, data, tuple(metadata or ()), timeout, self._decode)

    def _behaviour(self, *, wait_for_ready: bool | None) -> Behaviour:
        """Return the chain, or what answers in its place; raises UsageError when the channel is closed."""
        if self._channel.is_closed:
            raise grpc.aio.UsageError("the channel is closed")
        if not self._server.is_accepting:
            return self._later if wait_for_ready else _unavailable
        self._found = self._server.servicers.behaviour(self._method)
        return self._found or _unimplemented

    async def _later(self, data: bytes, context: Context) -> bytes:
        await self._server.started.wait()
        return await self._behaviour(wait_for_ready=False)(data, context)


async def _unavailable(_: bytes, context: Context) -> bytes:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "the service does not serve calls")


async def _unimplemented(_: bytes, context: Context) -> bytes:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
