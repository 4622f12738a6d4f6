"""The watchdog: who blocks the loop is named while it does."""

import asyncio
import threading
from datetime import timedelta
from time import monotonic

from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from stylobate.rpc.call import Call
from stylobate_actions.runner import Runner
from stylobate_actions.watchdog import LoopWatchdog

NAME = "slow.block"


def blocked() -> float:
    """Return how often the action was seen blocking."""
    return REGISTRY.get_sample_value("stylobate_actions_loop_blocked_total", {"running": NAME}) or 0


async def test_an_action_that_blocks_the_loop_is_named_while_it_does() -> None:
    """While it blocks, another thread sees it counted; the log holds its name and where it stands."""
    before, noticed = blocked(), threading.Event()

    async def block() -> float:
        started = monotonic()
        while blocked() == before and monotonic() - started < 60:
            noticed.wait(0.01)  # a blocking call in module code, which is what this is about
        return blocked()

    loop = asyncio.get_running_loop()
    with capture_logs() as logs:
        async with Runner.open() as runner, LoopWatchdog.open(runner.running, timedelta(milliseconds=500)):
            counted = await runner.run(NAME, Call(deadline=loop.time() + 30), block)
    assert counted == before + 1
    (entry,) = [entry for entry in logs if entry["event"] == "loop_blocked"]
    assert entry["running"] == NAME
    assert "in block" in entry["stack"]


async def test_a_loop_that_turns_is_left_alone() -> None:
    """Waiting is not blocking."""
    before = blocked()
    loop = asyncio.get_running_loop()
    async with Runner.open() as runner, LoopWatchdog.open(runner.running, timedelta(milliseconds=500)):
        await runner.run(NAME, Call(deadline=loop.time() + 30), asyncio.sleep, 1.2)
    assert blocked() == before
