"""A local call in the task of whoever awaits its response, of a handler that ends as soon as it is cancelled."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio

from stylobate.deadlines import Deadlines
from stylobate.rpc.call import Call, HandedOn, current_call
from stylobate.rpc.local.context import LocalContext, too_large
from stylobate.rpc.method import MAX_MESSAGE_BYTES, Behaviour, Decode, Metadata
from stylobate.rpc.outcome import EXPIRED, again

Seen: TypeAlias = Callable[[grpc.aio.AioRpcError], Exception]
"""Returns what the caller is told of a call that failed."""


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

    def __init__(self, loop: asyncio.AbstractEventLoop, invocation: Metadata | HandedOn | Call, deadline: float | None) -> None:
        self._loop = loop
        self.invocation = invocation
        self.deadline = deadline
        self._caller: asyncio.Task[Any] = asyncio.current_task(loop)  # type: ignore[assignment]  # a task awaits it
        self._cancelled_before = self._caller.cancelling()

    async def answer(  # noqa: PLR0917  the hot path: by position
        self,
        behaviour: Behaviour,
        request: Any,
        live: "set[Any]",
        deadlines: Deadlines,
        decode: Decode = None,
        seen: Seen | None = None,
    ) -> Any:
        """Serve the call and return the response. Raises AioRpcError, or what is seen in it; CancelledError.

        :param request: as the behaviour takes it, encoded or not.
        :param live: where it stands meanwhile. :param deadlines: what ends it in time.
        :param seen: None: errors are raised as they are.
        """
        if self.deadline is not None:
            deadlines.add(self, self.deadline, self.end, grpc.StatusCode.DEADLINE_EXCEEDED, EXPIRED)
        live.add(self)
        served_before = current_call.get()
        result: Any
        try:
            if type(request) is bytes and len(request) > MAX_MESSAGE_BYTES:
                await self.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, too_large(request))
            result = await behaviour(request, self)
            if self._code is not None or type(result) is bytes:
                result = self.outcome_of(result)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  a real server tells the caller, and goes on
            result = self.failed_with(error)
        finally:
            current_call.set(served_before)
            live.discard(self)
            deadlines.discard(self)
            self._is_done = True
            if self._ended is not None or self._on_initial is not None:
                self.finish()
        if self._is_given_up:
            self._caller.uncancel()
            result = self._told
        if result is not None and type(result) is not grpc.aio.AioRpcError:
            return decode(result) if decode is not None and type(result) is bytes else result
        if result is None or self._caller.cancelling() > self._cancelled_before:
            raise asyncio.CancelledError
        # another one: who kept the one that is told would be kept by its traceback; nor does this frame keep what is raised
        raise again(result) if seen is None else told(again(result), seen)

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


def told(error: grpc.aio.AioRpcError, seen: Seen) -> Exception:
    """Return what the caller is told of a call that failed, with its cause."""
    found = seen(error)
    if found is not error:
        found.__cause__ = error
    return found
