"""A local call in the task of whoever awaits its response, of a handler that ends as soon as it is cancelled."""

import asyncio
from typing import Any

import grpc
import grpc.aio

from stylobate.deadlines import Deadlines
from stylobate.rpc.call import HandedOn, current_call
from stylobate.rpc.local.call import served
from stylobate.rpc.local.context import LocalContext
from stylobate.rpc.method import Behaviour, Metadata
from stylobate.rpc.outcome import EXPIRED, again


class AskedCall(LocalContext):
    """The servicer's side of such a call, and all that there is of it.

    At its deadline, or when the server stops, the task is cancelled and the cancellation taken back, as ``asyncio.timeout`` does
    it.
    """

    _is_given_up = False
    """Whether it was ended before its handler had."""
    _told: grpc.aio.AioRpcError | None = None
    """What the caller is told then; None: it is cancelled."""
    _ended: "asyncio.Future[None] | None" = None

    def __init__(self, loop: asyncio.AbstractEventLoop, invocation: Metadata | HandedOn, deadline: float | None) -> None:
        super().__init__(loop, invocation, deadline)
        self._caller: asyncio.Task[Any] = asyncio.current_task(loop)  # type: ignore[assignment]  # a task awaits it
        self._cancelled_before = self._caller.cancelling()

    async def answer(self, behaviour: Behaviour, data: bytes, live: "set[Any]", deadlines: Deadlines) -> bytes:
        """Serve the call and return the encoded response. Raises AioRpcError, CancelledError.

        :param live: where it stands meanwhile. :param deadlines: what ends it in time.
        """
        if self.deadline is not None:
            deadlines.add(self, self.deadline, self.end, grpc.StatusCode.DEADLINE_EXCEEDED, EXPIRED)
        live.add(self)
        served_before = current_call.get()
        try:
            result: bytes | grpc.aio.AioRpcError | None = await served(behaviour, data, self)
        finally:
            current_call.set(served_before)
            live.discard(self)
            deadlines.discard(self)
            self.finish()
        if self._is_given_up:
            self._caller.uncancel()
            result = self._told
        if isinstance(result, bytes):
            return result
        if result is None or self._caller.cancelling() > self._cancelled_before:
            raise asyncio.CancelledError
        raise again(result)  # who kept the one that is told would be kept by its traceback

    def finish(self) -> None:
        """Tell that the handler has ended."""
        super().finish()
        if self._ended is not None:
            self._ended.set_result(None)

    @property
    def ended(self) -> "asyncio.Future[None]":
        """Done once the handler has ended."""
        if self._ended is None:
            self._ended = self._loop.create_future()
            if self.done():
                self._ended.set_result(None)
        return self._ended

    def end(self, code: grpc.StatusCode, details: str) -> None:
        """Cancel the handler, and tell the caller."""
        self._give_up(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details))

    def drop(self) -> None:
        """Cancel the handler, and the wait of the caller."""
        self._give_up(None)

    def _give_up(self, told: grpc.aio.AioRpcError | None) -> None:
        if not self.done() and not self._is_given_up:
            self._is_given_up, self._told = True, told
            self._caller.cancel()
