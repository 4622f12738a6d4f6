"""A channel that fails at once while its target does not answer."""

import asyncio
from collections.abc import Generator
from time import monotonic
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from stylobate.errors import UnavailableError
from stylobate.logs import get_logger
from stylobate.resilience import CircuitBreaker, Interruption
from stylobate.rpc.status import RETRY_AFTER, is_silence, is_transport_failure
from stylobate.rpc.wrapped import WrappedChannel, WrappedStreamCall, WrappedUnaryCall

_LOOK_WITHIN_S = 1.0
_MAX_TEXT = 300
_LOOKS = 3
"""At once: the transport sends them to its replicas in turn, and one that answers is enough."""
_UNANSWERED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_log = get_logger("app")


class BreakerChannel(WrappedChannel):
    """Opens when the target cannot be reached, or accepts calls and answers none; then raises UnavailableError without trying.

    Not reached: UNAVAILABLE without details, several times in a row; with details the target said it itself, and is there.
    Not answered: a call ran into its deadline, and the target's health service does not answer either (a method that is slow
    does not close the way to the others). Neither counts where another call was answered meanwhile: then one of several
    replicas is gone, which the transport leaves out by itself. While open, the health service alone is asked.

    A stream is refused while the circuit is open and otherwise left out of account: its end says nothing of the target, since
    servers end every connection that came of age.
    """

    def __init__(self, inner: grpc.aio.Channel, breaker: CircuitBreaker) -> None:
        super().__init__(inner)
        self.breaker = breaker
        self._answered_at = 0.0
        health: Any = health_pb2_grpc.HealthStub(inner)
        self._check = health.Check
        self._looking: asyncio.Task[None] | None = None
        self._cause = ""

    async def close(self, grace: float | None = None) -> None:
        """Stop looking, close the channel within."""
        if self._looking is not None:
            self._looking.cancel()
        await super().close(grace)

    def _unary(self, inner: grpc.aio.UnaryUnaryMultiCallable[Any, Any]) -> "BreakerUnary":
        return BreakerUnary(inner, self)

    def _stream(self, inner: grpc.aio.UnaryStreamMultiCallable[Any, Any]) -> "BreakerStream":
        return BreakerStream(inner, self)

    def check(self) -> None:
        """Raise UnavailableError while the circuit is open."""
        if self.breaker.is_open:
            raise UnavailableError(retry_after=RETRY_AFTER)

    def answered(self) -> None:
        """Take note that a call was answered."""
        self._answered_at = monotonic()
        self.breaker.success()

    def failed(self, error: grpc.aio.AioRpcError, begun: float) -> None:
        """Take note of how a call failed that was begun at ``begun`` (monotonic)."""
        is_cut = is_transport_failure(error)
        if not is_cut and not is_silence(error):
            self.answered()
        elif self._answered_at < begun:
            self._note(error)
            if is_cut:
                self.breaker.failure()
            if not is_cut or self.breaker.is_open:
                self._look()

    def _look(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._until_answered(), name=f"look for {self.breaker.name}")

    async def _until_answered(self) -> None:
        """Ask the target whether it is there; while it is not, keep the circuit open."""
        is_silent = False
        unreachable = Interruption("target_unreachable") if self.breaker.is_open else None
        if unreachable is not None:  # a moment ago
            unreachable.note(target=self.breaker.name, cause=self._cause)
            await asyncio.sleep(self.breaker.reset_after.total_seconds())
        while not await self._is_there():
            self.breaker.trip()
            if unreachable is not None:
                unreachable.note(target=self.breaker.name, cause=self._cause)
            elif not is_silent:
                _log.warning("target_silent", target=self.breaker.name)
                is_silent = True
            await asyncio.sleep(self.breaker.reset_after.total_seconds())
        self.answered()
        if is_silent or unreachable is not None:
            _log.info("target_answers", target=self.breaker.name)

    async def _is_there(self) -> bool:
        looks = [asyncio.ensure_future(self._is_answered()) for _ in range(_LOOKS)]
        try:
            for look in asyncio.as_completed(looks):
                if await look:
                    return True
            return False
        finally:
            for task in looks:
                task.cancel()

    async def _is_answered(self) -> bool:
        try:
            await self._check(health_pb2.HealthCheckRequest(), timeout=_LOOK_WITHIN_S)
        except grpc.aio.AioRpcError as error:
            self._note(error)
            return error.code() not in _UNANSWERED  # a server without a health service is a server
        return True

    def _note(self, error: grpc.aio.AioRpcError) -> None:
        """Keep what the transport says, such as that TLS does not come about: waiting does not cure everything."""
        self._cause = (error.details() or error.code().name)[:_MAX_TEXT]


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
        return WrappedStreamCall(made)


class _UnaryCall(WrappedUnaryCall):
    def __init__(self, call: grpc.aio.UnaryUnaryCall[Any, Any], channel: BreakerChannel) -> None:
        super().__init__(call)
        self._channel = channel
        self._begun = monotonic()

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the response. Raises AioRpcError."""
        try:
            response = yield from self._unary.__await__()
        except grpc.aio.AioRpcError as error:
            self._channel.failed(error, self._begun)
            raise
        self._channel.answered()
        return response
