"""Channels around channels: what :class:`CallerChannel` and the circuit breaker share.

A grpc.aio client interceptor would start a task of its own per call; these wrappers only pass through one object.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Generator
from time import monotonic
from types import TracebackType
from typing import Any, ClassVar, Never, Self

import grpc
import grpc.aio

from stylobate.errors import UnavailableError

_Encode = Callable[[Any], bytes] | None
_Decode = Callable[[bytes], Any] | None


class WrappedChannel(grpc.aio.Channel):
    """Delegates everything; subclasses say what happens before a call and after it."""

    takes_note: ClassVar[bool] = False
    """Whether :meth:`ended` is called."""

    def __init__(self, inner: grpc.aio.Channel) -> None:
        self._inner = inner
        self._multi: dict[tuple[str, _Encode, _Decode], Any] = {}

    @abstractmethod
    def begin(self, timeout: float | None, metadata: Any, *, is_stream: bool) -> tuple[float | None, Any]:
        """Return the timeout in seconds and the metadata that a call goes with. Raises StylobateError: it is not made."""

    def ended(self, error: grpc.aio.AioRpcError | None, begun: float) -> None:
        """Take note of how a call with one response ended that was begun at ``begun`` (monotonic)."""

    def seen(self, error: grpc.aio.AioRpcError | UnavailableError) -> Exception:
        """Return what the caller is told of a call that failed, or that the channel within did not make."""
        return error

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.UnaryUnaryMultiCallable[Any, Any]:
        """Return what calls the method; the same object each time, so that a stub costs little to make."""
        key = (method, request_serializer, response_deserializer)
        found = self._multi.get(key)
        if found is None:
            found = self._multi[key] = WrappedUnary(self, self._inner.unary_unary(*key))
        multi: grpc.aio.UnaryUnaryMultiCallable[Any, Any] = found
        return multi

    def unary_stream(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.UnaryStreamMultiCallable[Any, Any]:
        """Return what calls the method; the same object each time."""
        key = (method, request_serializer, response_deserializer)
        found = self._multi.get(key)
        if found is None:
            found = self._multi[key] = WrappedStream(self, self._inner.unary_stream(*key))
        multi: grpc.aio.UnaryStreamMultiCallable[Any, Any] = found
        return multi

    def stream_unary(self, *_: Any, **__: Any) -> Never:
        """Refuse: requests are not streamed."""
        raise NotImplementedError("requests are not streamed")

    def stream_stream(self, *_: Any, **__: Any) -> Never:
        """Refuse: requests are not streamed."""
        raise NotImplementedError("requests are not streamed")

    async def close(self, grace: float | None = None) -> None:
        """Close the channel within."""
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the state of the channel within."""
        return self._inner.get_state(try_to_connect=try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the state is another one."""
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until connected."""
        await self._inner.channel_ready()

    async def __aenter__(self) -> Self:
        """Return the channel itself."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Close the channel."""
        await self.close()


class _Delegating(grpc.aio.Call):
    """What the two kinds of call share: everything but the responses comes from the call within."""

    _call: grpc.aio.Call

    def cancel(self) -> bool:
        """Give the call up."""
        return self._call.cancel()

    def cancelled(self) -> bool:
        """Return whether it was cancelled on this side."""
        return self._call.cancelled()

    def done(self) -> bool:
        """Return whether the status is known."""
        return self._call.done()

    def time_remaining(self) -> float | None:
        """Return the seconds left; None without a deadline."""
        return self._call.time_remaining()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call back when the status is known."""
        self._call.add_done_callback(lambda _: callback(self))

    async def initial_metadata(self) -> grpc.aio.Metadata:
        """Wait for what the server sent ahead."""
        return await self._call.initial_metadata()

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        """Wait for what came with the status."""
        return await self._call.trailing_metadata()

    async def code(self) -> grpc.StatusCode:
        """Wait for the status."""
        return await self._call.code()

    async def details(self) -> str:
        """Wait for the text of the status."""
        return await self._call.details()

    async def wait_for_connection(self) -> None:
        """Wait until connected; raises AioRpcError."""
        await self._call.wait_for_connection()


class WrappedUnaryCall(_Delegating, grpc.aio.UnaryUnaryCall[Any, Any]):
    """A call with one response."""

    def __init__(self, channel: WrappedChannel, call: grpc.aio.UnaryUnaryCall[Any, Any]) -> None:
        self._channel = channel
        self._call = self._unary = call
        self._begun = monotonic() if channel.takes_note else 0.0

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the response. Raises what the channel makes of an error."""
        channel = self._channel
        try:
            response = yield from self._unary.__await__()
        except grpc.aio.AioRpcError as error:
            if channel.takes_note:
                channel.ended(error, self._begun)
            seen = channel.seen(error)
            if seen is error:
                raise
            raise seen from error
        if channel.takes_note:
            channel.ended(None, self._begun)
        return response


class WrappedStreamCall(_Delegating, grpc.aio.UnaryStreamCall[Any, Any]):
    """A call with a stream of responses; its own iterator, so that dropping it drops the call within."""

    def __init__(self, channel: WrappedChannel, call: grpc.aio.UnaryStreamCall[Any, Any]) -> None:
        self._channel = channel
        self._call = self._stream = call
        self._loop = asyncio.get_running_loop()

    def __del__(self) -> None:
        """Give the call up when nobody can read it any more: grpc's own channel keeps a call until it has ended."""
        if not self._loop.is_closed() and not self._call.done():
            self._loop.call_soon_threadsafe(self._call.cancel)  # garbage is collected in any thread

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
        """Return the next message, ``grpc.aio.EOF`` at the end. Raises what the channel makes of an error."""
        try:
            return await self._stream.read()
        except grpc.aio.AioRpcError as error:
            seen = self._channel.seen(error)
            if seen is error:
                raise
            raise seen from error


class _Multi:
    """What the two kinds of method share."""

    is_stream: ClassVar[bool]

    def __init__(self, channel: WrappedChannel, inner: Any) -> None:
        self._channel = channel
        self._inner = inner

    def _make(self, request: Any, timeout: float | None, metadata: Any, options: dict[str, Any]) -> Any:
        timeout, metadata = self._channel.begin(timeout, metadata, is_stream=self.is_stream)
        try:
            return self._inner(request, timeout=timeout, metadata=metadata, **options)
        except UnavailableError as error:  # the circuit within is open
            raise self._channel.seen(error) from None


class WrappedUnary(_Multi, grpc.aio.UnaryUnaryMultiCallable[Any, Any]):
    """Calls one method with one response."""

    is_stream = False

    def __call__(self, request: Any, *, timeout: float | None = None, metadata: Any = None, **options: Any) -> WrappedUnaryCall:
        """Begin the call. ``timeout`` in seconds. Raises what the channel refuses with."""
        return WrappedUnaryCall(self._channel, self._make(request, timeout, metadata, options))


class WrappedStream(_Multi, grpc.aio.UnaryStreamMultiCallable[Any, Any]):
    """Calls one method with a stream of responses."""

    is_stream = True

    def __call__(self, request: Any, *, timeout: float | None = None, metadata: Any = None, **options: Any) -> WrappedStreamCall:
        """Begin the call. ``timeout`` in seconds. Raises what the channel refuses with."""
        return WrappedStreamCall(self._channel, self._make(request, timeout, metadata, options))
