"""A local call without a task of its own."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context as EmptyContext
from typing import Any

import grpc
import grpc.aio

from stylobate.deadlines import Deadlines
from stylobate.rpc.local.asked import AskedCall
from stylobate.rpc.local.call import LocalUnaryCall
from stylobate.rpc.outcome import again


class PromptCall(LocalUnaryCall):
    """A call of a handler that ends as soon as it is cancelled: it runs in the task of whoever awaits the call.

    It has an empty context there, and its deadline and its end are those of every other call: it is cancelled, and the caller
    is told. Saved are a task, a future and two turns of the loop.
    """

    _asked: AskedCall | None = None
    """Itself as its handler sees it, while that runs in the task of whoever awaits it."""
    _result: bytes | grpc.aio.AioRpcError | None = None
    _is_begun = False
    _beginning: asyncio.Handle | None = None

    def __init__(self, deadlines: Deadlines, *arguments: Any) -> None:
        """Take what a :class:`LocalCall` takes.

        :param deadlines: of the method's calls.
        """
        self._deadlines = deadlines
        self._arguments = arguments

    def begin_soon(self) -> None:
        """Begin like any other call, unless it is awaited before."""
        loop: asyncio.AbstractEventLoop = self._arguments[1]
        self._beginning = loop.call_soon(self._begin)

    def __getattr__(self, name: str) -> Any:
        """Return what is there once a call has begun: one that is asked for it begins."""
        if name not in {"outcome", "task", "context"}:
            raise AttributeError(name)
        if not self._is_begun:
            self._begin()
        elif name == "outcome":
            self.outcome = self._loop.create_future()
            self._tell()
        return self.__dict__[name]

    def _begin(self) -> None:
        self._set_out()
        super().__init__(*self._arguments)

    def _set_out(self) -> None:
        self._is_begun = True
        if self._beginning is not None:
            self._beginning.cancel()
            self._beginning = None

    def __await__(self) -> Generator[Any, None, Any]:
        """Serve the call and return its response. Raises AioRpcError, CancelledError."""
        live, loop, behaviour, data, metadata, timeout, decode = self._arguments
        if self._is_begun or (timeout is not None and timeout <= 0):
            return (yield from super().__await__())
        self._set_out()
        self._loop = loop
        asked = self.context = self._asked = AskedCall(loop, metadata, None if timeout is None else loop.time() + timeout)
        try:
            result: bytes = yield from _apart(asked.answer(behaviour, data, live, self._deadlines))
            self._result = result
        except grpc.aio.AioRpcError as error:
            self._result = again(error)
            raise
        finally:
            self._asked = None
            if "outcome" in self.__dict__:
                self._tell()
        return result if decode is None else decode(result)

    def end(self, code: grpc.StatusCode, details: str) -> None:
        """Cancel the handler, and tell the caller."""
        if self._asked is None:
            super().end(code, details)
        else:
            self._asked.end(code, details)

    def drop(self) -> None:
        """Cancel the handler, and the wait of the caller."""
        if self._asked is None:
            super().drop()
        else:
            self._asked.drop()

    def _tell(self) -> None:
        """Settle the outcome, which somebody asked for, once it is known."""
        if self.outcome.done() or self._asked is not None:
            return
        if self._result is None:
            self.outcome.cancel()
        else:
            self.outcome.set_result(self._result)


def _apart(coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, None, Any]:
    """Run a coroutine to its end in this task, and in an empty context."""
    run = EmptyContext().run
    step: Callable[[Any], Any] = coroutine.send
    given: BaseException | None = None
    while True:
        try:
            awaited = run(step, given)
        except StopIteration as done:
            return done.value
        finally:
            given = None  # it would hold this frame, which holds it: nothing is to wait for the collector
        step = coroutine.send
        try:
            yield awaited
        except BaseException as error:  # noqa: BLE001  it is the coroutine's
            step, given = coroutine.throw, error
