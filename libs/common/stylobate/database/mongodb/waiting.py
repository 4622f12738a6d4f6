"""Waiting for a server or a connection, within the driver, that bears to be cancelled twice.

Before Python 3.12 `asyncio.wait_for` waits in a task of its own. Who waits for a condition of the driver's and is cancelled, and
once more before that task has its lock again, as when a deadline passes and the caller leaves, goes on without the lock: what
another one holds is released, or the lock is held by nobody for good, and every statement of that client waits for it.
"""

import asyncio

from pymongo.asynchronous import pool, topology
from pymongo.lock import Condition

_NAME = "_async_cond_wait"
"""Of what the driver calls for it; each of its modules has the name for itself."""


def mend() -> None:
    """Have the driver wait in the task of who waits. May be called again."""
    for module in (pool, topology):
        setattr(module, _NAME, wait)


async def wait(condition: Condition, timeout: float | None) -> bool:  # noqa: ASYNC109  the driver's own
    """Wait until the condition is told of something, or that long; return whether it was. The lock is held again then."""
    try:
        async with asyncio.timeout(timeout):
            return await condition.wait()
    except TimeoutError:
        return False
