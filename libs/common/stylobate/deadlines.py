"""Deadlines of many short things, kept by one timer of the loop's.

Nearly everything ends long before its deadline, so that a timer of its own is made and given up for nothing. Here it costs an
entry in a dictionary; the one timer is set for the earliest deadline and looks, when it goes off, for the next.
"""

import asyncio
from collections.abc import Callable, Hashable
from math import inf
from typing import Any

_EARLY_S = 0.001
"""Timers of the loop count in milliseconds and may go off within the one before."""


class Deadlines:
    """Calls back at deadlines."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pending: dict[Hashable, tuple[float, Callable[..., None], tuple[Any, ...]]] = {}
        self._next = inf
        self._timer: asyncio.TimerHandle | None = None

    def add(self, key: Hashable, at: float, overdue: Callable[..., None], *arguments: Any) -> None:
        """Call ``overdue(*arguments)`` at the time, unless the key is discarded before.

        :param at: on the loop's clock.
        """
        self._pending[key] = at, overdue, arguments
        if at < self._next:
            self._set(at)

    def discard(self, key: Hashable) -> None:
        """Forget a deadline, if there is one."""
        self._pending.pop(key, None)

    def _set(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = at
        self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        self._timer, self._next = None, inf
        now = self._loop.time() + _EARLY_S
        try:
            for key in [key for key, (at, _, _) in self._pending.items() if at <= now]:
                _, overdue, arguments = self._pending.pop(key, _NOTHING)
                overdue(*arguments)
        finally:
            if self._pending:
                self._set(min(self._next, *(at for at, _, _ in self._pending.values())))


_NOTHING: tuple[float, Callable[..., None], tuple[Any, ...]] = (inf, lambda: None, ())
