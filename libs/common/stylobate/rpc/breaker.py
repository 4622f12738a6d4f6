"""A channel that fails at once while its target does not answer."""

from collections.abc import Generator
from typing import Any

import grpc
import grpc.aio

from stylobate.errors import UnavailableError
from stylobate.resilience import CircuitBreaker
from stylobate.rpc.status import RETRY_AFTER, is_transport_failure
from stylobate.rpc.wrapped import WrappedChannel, WrappedStreamCall, WrappedUnaryCall


class BreakerChannel(WrappedChannel):
    """Counts the calls that no server answered; past the limit raises UnavailableError without trying.

    A typed error is an answer, UNAVAILABLE with details included: the target is there. A deadline that passed counts only
    while the channel is not connected.
    """

    def __init__(self, inner: grpc.aio.Channel, breaker: CircuitBreaker) -> None:
        super().__init__(inner)
        self.breaker = breaker

    def _unary(self, inner: grpc.aio.UnaryUnaryMultiCallable[Any, Any]) -> "BreakerUnary":
        return BreakerUnary(inner, self)

    def _stream(self, inner: grpc.aio.UnaryStreamMultiCallable[Any, Any]) -> "BreakerStream":
        return BreakerStream(inner, self)

    def check(self) -> None:
        """Raise UnavailableError while the circuit is open."""
        if not self.breaker.allow():
            raise UnavailableError(retry_after=RETRY_AFTER)

    def failed(self, error: grpc.aio.AioRpcError) -> None:
        """Take note of how a call failed."""
        if is_transport_failure(error) or (
            error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and self.get_state() is not grpc.ChannelConnectivity.READY
        ):
            self.breaker.failure()
        else:
            self.breaker.success()


class BreakerUnary(grpc.aio.UnaryUnaryMultiCallable[Any, Any]):
    """Calls one method with one response."""

    def __init__(self, inner: grpc.aio.UnaryUnaryMultiCallable[Any, Any], channel: BreakerChannel) -> None:
        self._inner = inner
        self._channel = channel

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        **options: Any,
    ) -> WrappedUnaryCall:
        """Begin the call. Raises UnavailableError while the circuit is open."""
        self._channel.check()
        made = self._inner(
            request,
            timeout=timeout,
            metadata=metadata,
            **options,
        )
        return _UnaryCall(made, self._channel)


class BreakerStream(grpc.aio.UnaryStreamMultiCallable[Any, Any]):
    """Calls one method with a stream of responses."""

    def __init__(self, inner: grpc.aio.UnaryStreamMultiCallable[Any, Any], channel: BreakerChannel) -> None:
        self._inner = inner
        self._channel = channel

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        **options: Any,
    ) -> WrappedStreamCall:
        """Begin the call. Raises UnavailableError while the circuit is open."""
        self._channel.check()
        made = self._inner(
            request,
            timeout=timeout,
            metadata=metadata,
            **options,
        )
        return _StreamCall(made, self._channel)


class _UnaryCall(WrappedUnaryCall):
    def __init__(self, call: grpc.aio.UnaryUnaryCall[Any, Any], channel: BreakerChannel) -> None:
        super().__init__(call)
        self._channel = channel

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the response. Raises AioRpcError."""
        try:
            response = yield from self._unary.__await__()
        except grpc.aio.AioRpcError as error:
            self._channel.failed(error)
            raise
        self._channel.breaker.success()
        return response


class _StreamCall(WrappedStreamCall):
    def __init__(self, call: grpc.aio.UnaryStreamCall[Any, Any], channel: BreakerChannel) -> None:
        super().__init__(call)
        self._channel = channel

    async def read(self) -> Any:
        """Return the next message, ``grpc.aio.EOF`` at the end. Raises AioRpcError."""
        try:
            message = await self._stream.read()
        except grpc.aio.AioRpcError as error:
            self._channel.failed(error)
            raise
        self._channel.breaker.success()
        return message
