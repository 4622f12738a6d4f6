# ruff: noqa: D102  most methods are documented by grpc.aio
"""A call by a stream, as its caller holds it."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from stylobate.rpc.method import Decode, Encode, Metadata
from stylobate.rpc.mux.items import MAX_REQUEST_BYTES, TooLargeError
from stylobate.rpc.outcome import EXPIRED, UnaryOutcomeCall
from stylobate.rpc.status import NO_RETRY

if TYPE_CHECKING:
    from stylobate.rpc.mux.channel import MuxChannel
    from stylobate.rpc.mux.client import ClientStream


class MuxCall(UnaryOutcomeCall):
    """A call under way. Where nobody answered it and it may be sent again, it goes by plain gRPC."""

    initial: Any = ()
    _trailing: Any = ()
    _again: "asyncio.Task[None] | MuxCall | None" = None
    """It is asked elsewhere, too: where it failed, or where nobody answers yet."""
    _failed: grpc.aio.AioRpcError | None = None
    """How it ended here, while it is asked elsewhere."""
    _timer: asyncio.TimerHandle | None = None

    def __init__(
        self, method: "MuxMethod", stream: "ClientStream", request: bytes, metadata: Metadata, timeout: float | None
    ) -> None:
        self._loop = loop = stream.loop
        self._method, self._stream = method, stream
        self._request, self._metadata = request, metadata
        self.decode = method.decode
        self.outcome = loop.create_future()
        self._deadline: float | None = None
        self._number = stream.call(self, method.name, metadata, request, timeout)
        if timeout is not None:
            self._deadline = loop.time() + timeout
            self._timer = loop.call_later(timeout, self._expire)

    def answer(self, response: bytes, initial: Any, trailing: Any) -> None:
        """Take the response."""
        if not self.outcome.done():
            self.initial, self._trailing = initial, trailing
            self._end(response)

    def fail(self, error: grpc.aio.AioRpcError, *, is_unsent: bool = False) -> None:
        """Take the error that it ended with.

        :param is_unsent: whether no server can have seen it.
        """
        if self.outcome.done():
            return
        is_unanswered = error.code() is grpc.StatusCode.UNAVAILABLE and NO_RETRY not in tuple(error.trailing_metadata() or ())
        if self._again is not None and is_unanswered:
            self._failed = error
        elif is_unsent or (self._method.is_idempotent and is_unanswered):
            self._again = self._loop.create_task(self._go_again(error))
        else:
            self._end(error)

    def ask_another(self) -> None:
        """Ask another server as well, where there is one and the contract allows it: the first answer counts."""
        if self._again is None and self._method.is_idempotent and (stream := self._method.pick()) is not None:
            self._again = other = MuxCall(self._method, stream, self._request, self._metadata, self.time_remaining())
            other.outcome.add_done_callback(lambda _: self._take(other))

    def _take(self, other: "MuxCall") -> None:
        self._again = None
        if other.outcome.cancelled() or self.outcome.done():
            return
        result = other.outcome.result()
        if isinstance(result, bytes) or result.code() is not grpc.StatusCode.UNAVAILABLE:
            self._stream.forget(self._number, is_cancelled=True)
            self.initial, self._trailing = other.initial, other.trailing()
            self._end(result)
        elif self._failed is not None:
            self._end(self._failed)

    async def _go_again(self, error: grpc.aio.AioRpcError) -> None:
        result: bytes | grpc.aio.AioRpcError
        try:
            call = self._method.plain(self._request, timeout=self.time_remaining(), metadata=self._metadata)
            result = await call
            self.initial, self._trailing = await call.initial_metadata(), await call.trailing_metadata()
        except grpc.aio.AioRpcError as last:
            result = last
        except (grpc.aio.UsageError, asyncio.CancelledError):  # the channel was closed
            result = error
        self._again = None
        self._end(result)

    def _end(self, result: bytes | grpc.aio.AioRpcError) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._again is not None:
            self._again.cancel()
        if not self.outcome.done():
            self.outcome.set_result(result)

    def _expire(self) -> None:
        if not self.outcome.done():
            error = grpc.aio.AioRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, grpc.aio.Metadata(), grpc.aio.Metadata(), EXPIRED)
            self.outcome.set_result(error)
            self._stream.forget(self._number, is_cancelled=False)
            if self._again is not None:
                self._again.cancel()

    def drop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._stream.forget(self._number, is_cancelled=True)
        if self._again is not None:
            self._again.cancel()

    def trailing(self) -> Any:
        return self._trailing

    async def initial_metadata(self) -> grpc.aio.Metadata:
        error = await self._error()
        return grpc.aio.Metadata(*self.initial) if error is None else error.initial_metadata()

    def time_remaining(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - self._loop.time())


class MuxMethod:
    """Calls one method with one response: by a stream where one takes it, else by plain gRPC."""

    def __init__(self, channel: "MuxChannel", name: str, encode: Encode, decode: Decode, *, is_idempotent: bool) -> None:
        self.name = name
        self.decode = decode
        self.is_idempotent = is_idempotent
        self.plain: Any = channel.plain.unary_unary(name)
        """The same in bytes, by plain gRPC."""
        self._decoded: Any = channel.plain.unary_unary(name, response_deserializer=decode)
        self.pick = channel.pick
        self._channel = channel
        self._encode = encode

    def __call__(self, request: Any, *, timeout: float | None = None, metadata: Any = None, **options: Any) -> Any:
        """Begin the call."""
        data = request if self._encode is None else self._encode(request)
        stream = self._channel.pick() if timeout is None or timeout > 0 else None
        if stream is not None and len(data) <= MAX_REQUEST_BYTES:
            with suppress(TooLargeError):
                return MuxCall(self, stream, data, tuple(metadata or ()), timeout)
        return self._channel.counted(self._decoded(data, timeout=timeout, metadata=metadata, **options))
