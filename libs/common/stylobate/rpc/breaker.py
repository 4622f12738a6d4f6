"""Keeps calls from a target that does not answer."""

import asyncio
from time import monotonic
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from stylobate.logs import get_logger
from stylobate.resilience import CircuitBreaker, Interruption, backoff
from stylobate.rpc.status import carried_error

_LOOK_WITHIN_S = 1.0
_MAX_TEXT = 300
_LOOKS = 3
"""At once: the transport sends them to its replicas in turn, and one that answers is enough."""
_UNANSWERED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_log = get_logger("app")


class Guard:
    """Knows whether a target answers, by how the calls to it end and by asking its health service.

    The circuit opens when the target is not reached, or accepts calls and answers none. Not reached: UNAVAILABLE without
    details, several times in a row; with details the target said it itself, and is there. Not answered: a call ran into its
    deadline, and the target's health service does not answer either (a method that is slow does not close the way to the
    others). Neither counts where another call was answered meanwhile: then one of several replicas is gone, which the
    transport leaves out by itself. While it is open, the health service alone is asked.
    """

    def __init__(self, target: grpc.aio.Channel, breaker: CircuitBreaker) -> None:
        self.breaker = breaker
        self._answered_at = 0.0
        health: Any = health_pb2_grpc.HealthStub(target)
        self._check = health.Check
        self._looking: asyncio.Task[None] | None = None
        self._cause = ""

    def close(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            self._looking.cancel()

    def answered(self) -> None:
        """Take note that the target answered a call, whatever it said."""
        self._answered_at = monotonic()
        if self.breaker.failures:
            self.breaker.success()

    def failed(self, error: grpc.aio.AioRpcError, begun: float) -> None:
        """Take note of how a call ended that was begun at ``begun`` (monotonic)."""
        if error.code() not in _UNANSWERED or carried_error(error) is not None:
            self.answered()
        elif self._answered_at < begun:
            self._note(error)
            is_cut = error.code() is grpc.StatusCode.UNAVAILABLE
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
        pauses = backoff(initial=0.05, maximum=self.breaker.reset_after.total_seconds())  # soon at first: it may be starting
        unreachable = Interruption("target_unreachable") if self.breaker.is_open else None
        if unreachable is not None:  # a moment ago
            unreachable.note(target=self.breaker.name, cause=self._cause)
            await asyncio.sleep(next(pauses))
        while not await self._is_there():
            self.breaker.trip()
            if unreachable is not None:
                unreachable.note(target=self.breaker.name, cause=self._cause)
            elif not is_silent:
                _log.warning("target_silent", target=self.breaker.name)
                is_silent = True
            await asyncio.sleep(next(pauses))
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
