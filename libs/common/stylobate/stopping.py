"""Ending background work: surely, within a bound, and said when it did not end.

A cancellation can get lost: what a task waits for may swallow it (``asyncio.wait_for`` of Python 3.11 does when both come at
once, so do drivers). Therefore both sides look twice: who closes calls :func:`end`, which cancels again until the task has
ended; and each turn of a loop without end asks :func:`goes_on`, which is false from the first cancellation on, lost or not.
"""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from stylobate.logs import get_logger

_WITHIN = timedelta(seconds=10)
_AGAIN_S = 2.0
"""Between two cancellations: clearing up in good order takes less."""
_log = get_logger("app")


def goes_on() -> bool:
    """Return whether nobody has asked the running task to end."""
    task = asyncio.current_task()
    return task is None or not task.cancelling()


def check_cancelled() -> None:
    """Raise CancelledError where somebody has asked the running task to end: in a loop that has to return something."""
    if not goes_on():
        raise asyncio.CancelledError


async def end(tasks: Iterable[asyncio.Task[Any]], *, within: timedelta = _WITHIN, again_s: float = _AGAIN_S) -> bool:
    """Cancel tasks and wait until they have ended, whatever with; nothing is raised for what they raise.

    :returns: False when one went on past the bound; it is named in the log and left alone.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + within.total_seconds()
    everything = tuple(tasks)
    left = {task for task in everything if not task.done()}
    for task in everything:
        task.add_done_callback(_look_at)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=max(0.0, min(again_s, until - loop.time())))
        if left and loop.time() >= until:
            _log.error("task_left_running", tasks=sorted(task.get_name() for task in left), seconds=within.total_seconds())
            break
    return not left


def _look_at(task: asyncio.Task[Any]) -> None:
    """See what a task ended with, so that the loop need not complain of it, even where who ended it is cancelled itself."""
    if not task.cancelled():
        task.exception()
