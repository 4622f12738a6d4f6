"""Background work with a parent that hears of its failure."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from stylobate.health import Health, Status
from stylobate.logs import get_logger
from stylobate.resilience import backoff
from stylobate.stopping import end, goes_on

_log = get_logger("app")
_STEADY_S = 30.0


class SupervisedTasks:
    """Runs named background work forever: what fails or ends is started again with backoff; all is cancelled at close."""

    def __init__(self, owner: str, *, well_after: timedelta = timedelta(seconds=3)) -> None:
        """Take who the work belongs to, and how long after a new beginning work that failed counts as well again."""
        self._owner = owner
        self._well_after_s = well_after.total_seconds()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failing: dict[str, str] = {}
        self._failures: dict[str, int] = {}

    async def close(self) -> None:
        """Cancel everything and wait until it has ended. May be called twice."""
        await end(self._tasks.values())

    def start(self, name: str, factory: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run the coroutine that the factory makes, again and again. A name stands once."""
        if name in self._tasks:
            raise ValueError(f"a task named {name} runs already")
        self._tasks[name] = asyncio.create_task(self._supervise(name, factory), name=f"{self._owner}.{name}")

    async def health(self) -> Health:
        """Degraded while a task is failing; names it."""
        if not self._failing:
            return Health(metrics={"tasks": len(self._tasks)})
        return Health(Status.DEGRADED, "; ".join(f"{name}: {why}" for name, why in self._failing.items()))

    async def _supervise(self, name: str, factory: Callable[[], Coroutine[Any, Any, None]]) -> None:
        loop = asyncio.get_running_loop()
        waits = backoff()
        while goes_on():
            started = loop.time()
            try:
                await factory()
                why = "ended by itself"
            except asyncio.CancelledError:
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise
                why = "was cancelled from within"  # by something it waited for: nobody told this task to end
            except Exception as error:  # noqa: BLE001  whatever it is: said, counted, tried again
                why = f"{type(error).__name__}: {error}"
                _log.exception("task_failed", service=self._owner, task=name)
            if not goes_on():
                return
            self._failing[name] = why
            number = self._failures[name] = self._failures.get(name, 0) + 1
            if loop.time() - started > _STEADY_S:
                waits = backoff()
            await asyncio.sleep(next(waits))
            loop.call_later(self._well_after_s, self._steady, name, number)

    def _steady(self, name: str, number: int) -> None:
        """Take a task for well again when it has not failed anew for a while."""
        if self._failures[name] == number:
            self._failing.pop(name, None)
