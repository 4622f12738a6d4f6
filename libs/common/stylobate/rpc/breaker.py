"""A channel that fails at once while its target does not answer."""

import asyncio
from time import monotonic
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from stylobate.errors import UnavailableError
from stylobate.logs import get_logger
from stylobate.resilience import CircuitBreaker, Interruption
from stylobate.rpc.status import RETRY_AFTER, is_silence, is_transport_failure
from stylobate.rpc.wrapped import WrappedChannel

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

    takes_note = True

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

    def begin(self, timeout: float | None, metadata: Any, *, is_stream: bool) -> tuple[float | None, Any]:  # noqa: ARG002
        """Change nothing. Raises UnavailableError while the circuit is open."""
        if self.breaker.is_open:
            raise UnavailableError(retry_after=RETRY_AFTER)
        return timeout, metadata

    def ended(self, error: grpc.aio.AioRpcError | None, begun: float) -> None:
        """Count the outcome."""
        is_cut = error is not None and is_transport_failure(error)
        if error is None or not (is_cut or is_silence(error)):
            self._answered()
        elif self._answered_at < begun:
            self._note(error)
            if is_cut:
                self.breaker.failure()
            if not is_cut or self.breaker.is_open:
                self._look()

    def _answered(self) -> None:
        self._answered_at = monotonic()
        self.breaker.success()

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
        self._answered()
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
