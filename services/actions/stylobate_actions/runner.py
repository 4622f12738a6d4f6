"""Running module code: each call in a task of its own, answered at its deadline whatever the code does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import copy_context
from typing import Any, Self

from stylobate.deadlines import Deadlines
from stylobate.logs import get_logger
from stylobate.modules.containment import contain
from stylobate.rpc.call import Call, current_call
from stylobate.telemetry import counter

_STUBBORN_AFTER_S = 1.0
_CLOSE_S = 2.0
_log = get_logger("app")


class OverdueError(Exception):
    """The code had not finished at its deadline."""


class Runner:
    """Runs handlers, hooks and the lives of modules. One per process and loop.

    The code runs in a task of its own: at the deadline the caller is answered at once and the task is cancelled; code that
    ignores that goes on alone, is counted and named, and harms no other call. Whatever it raises is its own failure.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._deadlines = Deadlines(loop)
        self._running: dict[asyncio.Task[None], str] = {}
        self.outage: Callable[[BaseException], BaseException] = lambda error: error
        """Says what a caller is told of an error that module code let through."""
        self._stubborn = counter("actions_stubborn", "Module code that went on after it was cancelled.", ("running",))

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls) -> AsyncIterator[Self]:
        """Run until left; then what still runs is cancelled and given 2 s."""
        runner = cls(asyncio.get_running_loop())
        try:
            yield runner
        finally:
            await runner._close()

    async def run(self, name: str, call: Call, code: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """Run ``code(*arguments)`` with ``call`` as the current call, until ``call.deadline``; return or raise what it does.

        :param name: what runs, for the log.
        :param call: must have a deadline.
        :raises OverdueError: at the deadline.
        :raises EscapedError: the code raised what is not an ordinary exception: ``SystemExit``, a cancellation of its own, …
        """
        loop = self._loop
        context = copy_context()
        context.run(current_call.set, call)
        answer: asyncio.Future[Any] = loop.create_future()
        task = asyncio.Task(self._serve(code, arguments, answer), loop=loop, context=context, name=name)
        self._running[task] = name
        self._deadlines.add(task, call.deadline, self._expire, task, answer)
        try:
            return await answer
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            self._deadlines.discard(task)
            if task.done():  # nearly always; a callback costs a turn of the loop
                del self._running[task]
            else:
                task.add_done_callback(self._running.pop)

    def running(self, task: asyncio.Task[Any] | None) -> str:
        """Return what runs in the task; empty when it is not ours. May be asked from another thread."""
        return self._running.get(task, "") if task is not None else ""

    async def _serve(self, code: Callable[..., Awaitable[Any]], arguments: tuple[Any, ...], answer: asyncio.Future[Any]) -> None:
        try:
            result = await code(*arguments)
        except BaseException as error:
            if self._loop.is_closed():
                raise  # nobody is left to be told
            if not answer.done():
                answer.set_exception(contain(self.outage(error)))
            elif not isinstance(error, asyncio.CancelledError):  # answered at the deadline, or the caller is gone
                _log.warning("failed_late", running=self.running(asyncio.current_task()), exc_info=error)
        else:
            if not answer.done():
                answer.set_result(result)

    def _expire(self, task: asyncio.Task[None], answer: asyncio.Future[Any]) -> None:
        if not answer.done():
            answer.set_exception(OverdueError())
            task.cancel()
            self._loop.call_later(_STUBBORN_AFTER_S, self._look_again, task)

    def _look_again(self, task: asyncio.Task[None]) -> None:
        if not task.done():
            name = self._running[task]
            self._stubborn.labels(name).inc()
            _log.warning("ignores_cancellation", running=name, seconds=_STUBBORN_AFTER_S)

    async def _close(self) -> None:
        left = set(self._running)
        for task in left:
            task.cancel()
        if left:
            _, stubborn = await asyncio.wait(left, timeout=_CLOSE_S)
            for task in stubborn:
                _log.error("left_running", running=self._running[task])
