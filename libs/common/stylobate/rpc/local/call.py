# ruff: noqa: D102  most methods are documented by grpc.aio
"""A local call: how it is begun, the handler's run, and what the caller holds of it."""

import asyncio
from contextvars import Context as EmptyContext
from typing import Any

import grpc
import grpc.aio

from stylobate.rpc.call import HandedOn
from stylobate.rpc.local.context import LocalContext, too_large
from stylobate.rpc.method import MAX_MESSAGE_BYTES, Behaviour, Decode, Metadata
from stylobate.rpc.outcome import EXPIRED, OutcomeCall, UnaryOutcomeCall


class LocalCall(OutcomeCall):
    """A call under way. The handler runs, in a task of its own and in an empty context, whether or not anyone awaits it.

    :param live: where it stands while the handler runs.
    """

    _timer: asyncio.TimerHandle | None = None

    def __init__(  # noqa: PLR0917  the hot path: by position
        self,
        live: "set[LocalCall]",
        loop: asyncio.AbstractEventLoop,
        behaviour: Behaviour,
        data: bytes,
        metadata: Metadata | HandedOn,
        timeout: float | None,
        decode: Decode,
    ) -> None:
        self._live = live
        self._loop = loop
        self.decode = decode
        self.context = LocalContext(loop, metadata, None if timeout is None else loop.time() + timeout)
        self.outcome: asyncio.Future[bytes | grpc.aio.AioRpcError] = loop.create_future()
        self.task = asyncio.Task(self._serve(behaviour, data), loop=loop, context=EmptyContext())
        live.add(self)
        if timeout is not None:
            if timeout > 0:
                self._timer = loop.call_later(timeout, self.end, grpc.StatusCode.DEADLINE_EXCEEDED, EXPIRED)
            else:
                self.end(grpc.StatusCode.DEADLINE_EXCEEDED, EXPIRED)

    async def _serve(self, behaviour: Behaviour, data: bytes) -> None:
        """Run the handler; whatever happens goes into the outcome, never into the task."""
        result = await served(behaviour, data, self.context)
        if not self.outcome.done():
            self.outcome.set_result(result)
        if self._timer is not None:
            self._timer.cancel()
        self._live.discard(self)
        self.context.finish()

    @property
    def ended(self) -> "asyncio.Future[Any]":
        """Done once the handler has ended."""
        return self.task

    def end(self, code: grpc.StatusCode, details: str) -> None:
        """Answer the caller now and cancel the handler."""
        if not self.outcome.done():
            self.outcome.set_result(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details))
            self.drop()

    def drop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self.task.done():
            # A task that is cancelled before its first step never runs, so it cannot take itself off the list.
            self.task.add_done_callback(self._forget)
            self.task.cancel()

    def _forget(self, _: asyncio.Task[None]) -> None:
        self._live.discard(self)
        if not self.context.done():
            self.context.finish()

    # as grpc.aio has it

    def trailing(self) -> Any:
        return self.context.trailing_metadata()

    def time_remaining(self) -> float | None:
        remaining: float | None = self.context.time_remaining()
        return remaining

    async def initial_metadata(self) -> grpc.aio.Metadata:
        return await self.context.initial()


class LocalUnaryCall(LocalCall, UnaryOutcomeCall):
    """A call with one response."""


async def served(behaviour: Behaviour, data: bytes, context: LocalContext) -> Any:
    """Run a handler, and return what its caller is told; it raises nothing that a handler may raise."""
    try:
        if len(data) > MAX_MESSAGE_BYTES:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, too_large(data))
        return context.outcome_of(await behaviour(data, context))
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  the caller is told, the process goes on
        return context.failed_with(error)
