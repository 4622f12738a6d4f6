"""A ``grpc.aio`` channel to servicers of the same process."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Never, Self

import grpc
import grpc.aio

from stylobate.rpc.local.call import LocalUnaryCall
from stylobate.rpc.local.context import LocalContext
from stylobate.rpc.local.server import LocalServer
from stylobate.rpc.local.stream import LocalStreamCall, StreamExchange
from stylobate.rpc.method import Behaviour, Context

_Encode = Callable[[Any], bytes] | None
_Decode = Callable[[bytes], Any] | None


class LocalChannel(grpc.aio.Channel):
    """Takes unmodified generated stubs. May be made before the server starts and before anything is registered.

    Closing it refuses further calls; those under way go on (they are the server's to end).
    """

    def __init__(self, server: LocalServer) -> None:
        self._server = server
        self.is_closed = False
        """Whether calls are refused for good."""

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        _registered_method: bool | None = False,
    ) -> "LocalUnary":
        """Return what calls the method."""
        return LocalUnary(self, self._server, method, request_serializer, response_deserializer)

    def unary_stream(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        _registered_method: bool | None = False,
    ) -> "LocalStream":
        """Return what calls the method."""
        return LocalStream(self, self._server, method, request_serializer, response_deserializer)

    def stream_unary(self, *_: Any, **__: Any) -> Never:
        """Refuse: requests are not streamed."""
        raise NotImplementedError("requests are not streamed")

    def stream_stream(self, *_: Any, **__: Any) -> Never:
        """Refuse: requests are not streamed."""
        raise NotImplementedError("requests are not streamed")

    async def close(self, grace: float | None = None) -> None:  # noqa: ARG002  grpc's signature
        """Refuse further calls."""
        self.is_closed = True

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: ARG002  grpc's signature
        """Return READY while the server accepts calls."""
        if self.is_closed:
            return grpc.ChannelConnectivity.SHUTDOWN
        return grpc.ChannelConnectivity.READY if self._server.is_accepting else grpc.ChannelConnectivity.IDLE

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the state is another one."""
        while self.get_state() is last_observed_state:
            await self._server.changed()

    async def channel_ready(self) -> None:
        """Wait until the server has started."""
        await self._server.started.wait()

    async def __aenter__(self) -> Self:
        """Return the channel itself."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Close the channel."""
        await self.close()


class _Multi:
    """What the two kinds share: the method's chain, looked up at the first call that finds it."""

    def __init__(self, channel: LocalChannel, server: LocalServer, method: str, encode: _Encode, decode: _Decode) -> None:
        self._channel = channel
        self._server = server
        self._method = method
        self._encode = encode
        self._decode = decode
        self._found: Behaviour | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # kept: asking for it is a system call

    def _behaviour(self, *, wait_for_ready: bool | None) -> Behaviour:
        """Return the chain, or what answers in its place; raises UsageError when the channel is closed."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        if self._channel.is_closed:
            raise grpc.aio.UsageError("the channel is closed")
        if not self._server.is_accepting:
            return self._later if wait_for_ready else _unavailable
        self._found = self._server.behaviour(self._method)
        return self._found or _unimplemented

    async def _later(self, data: bytes, context: Context) -> bytes:
        await self._server.started.wait()
        return await self._behaviour(wait_for_ready=False)(data, context)


class LocalUnary(_Multi, grpc.aio.UnaryUnaryMultiCallable[Any, Any]):
    """Calls one method with one response."""

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        wait_for_ready: bool | None = None,
        **_: Any,
    ) -> LocalUnaryCall:
        """Begin the call. ``credentials`` and ``compression`` have no meaning inside a process."""
        server, behaviour, loop = self._server, self._found, self._loop
        if behaviour is None or loop is None or not server.is_accepting or self._channel.is_closed:
            behaviour = self._behaviour(wait_for_ready=wait_for_ready)
            loop = self._loop or asyncio.get_running_loop()
        data = request if self._encode is None else self._encode(request)
        deadline = None if timeout is None else loop.time() + timeout
        call = LocalUnaryCall(server, loop, LocalContext(loop, tuple(metadata or ()), deadline), self._decode)
        call.begin(behaviour, data, timeout)
        return call


class LocalStream(_Multi, grpc.aio.UnaryStreamMultiCallable[Any, Any]):
    """Calls one method with a stream of responses."""

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        wait_for_ready: bool | None = None,
        **_: Any,
    ) -> LocalStreamCall:
        """Begin the call. ``credentials`` and ``compression`` have no meaning inside a process."""
        server, behaviour, loop = self._server, self._found, self._loop
        if behaviour is None or loop is None or not server.is_accepting or self._channel.is_closed:
            behaviour = self._behaviour(wait_for_ready=wait_for_ready)
            loop = self._loop or asyncio.get_running_loop()
        data = request if self._encode is None else self._encode(request)
        deadline = None if timeout is None else loop.time() + timeout
        exchange = StreamExchange(server, loop, LocalContext(loop, tuple(metadata or ()), deadline))
        exchange.begin(behaviour, data, timeout)
        return LocalStreamCall(exchange, self._decode)


async def _unavailable(_: bytes, context: Context) -> bytes:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "the service does not serve calls")


async def _unimplemented(_: bytes, context: Context) -> bytes:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
