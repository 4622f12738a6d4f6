"""The watchdog: names the module code that keeps the event loop from turning."""

import asyncio
import contextlib
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from time import monotonic
from typing import Any, Self

from stylobate.logs import get_logger
from stylobate.telemetry import counter

_PAUSE_S = 0.25
_UNKNOWN = "unknown"
_log = get_logger("app")


class LoopWatchdog:
    """A thread that asks the loop for a sign of life and, when none comes in time, looks what the loop's thread is doing.

    Nothing can stop the code; it is named with its stack, once per block, and the block's length is logged when it ends.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        running: Callable[[asyncio.Task[Any] | None], str],
        threshold: timedelta,
    ) -> None:
        self._loop = loop
        self._running = running
        self._threshold_s = threshold.total_seconds()
        self._loop_thread = threading.get_ident()
        self._stop = threading.Event()
        self._blocked = counter("actions_loop_blocked", "Times that module code kept the event loop from turning.", ("running",))
        self._thread = threading.Thread(target=self._watch, name="loop-watchdog", daemon=True)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, running: Callable[[asyncio.Task[Any] | None], str], threshold: timedelta) -> AsyncIterator[Self]:
        """Watch the running loop until left.

        :param running: names what runs in a task.
        :param threshold: how long the loop may stand still; with the pause between looks it is noticed within
            ``threshold`` + 250 ms.
        """
        watchdog = cls(asyncio.get_running_loop(), running, threshold)
        watchdog._thread.start()
        try:
            yield watchdog
        finally:
            watchdog._stop.set()
            await asyncio.to_thread(watchdog._thread.join)

    def _watch(self) -> None:
        while not self._stop.wait(_PAUSE_S):
            alive = threading.Event()
            asked = monotonic()
            try:
                self._loop.call_soon_threadsafe(alive.set)
            except RuntimeError:  # the loop is closed: nothing is left to watch
                return
            if not alive.wait(self._threshold_s):
                name = self._report()
                while not alive.wait(_PAUSE_S) and not self._stop.is_set():
                    pass
                _log.warning("loop_unblocked", running=name, seconds=round(monotonic() - asked, 2))

    def _report(self) -> str:
        name = self._running(asyncio.current_task(self._loop)) or _UNKNOWN
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001  the documented way to see another thread's stack
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        self._blocked.labels(name).inc()
        _log.error("loop_blocked", running=name, seconds=self._threshold_s, stack=stack)
        return name
