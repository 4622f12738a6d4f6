"""A real Valkey that is killed while checks run."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest_asyncio
from stylobate.health import Status
from stylobate.launcher.embedded import EmbeddedValkey, run_folder
from stylobate.redis import RedisManager
from stylobate.testing.until import until
from stylobate_ratelimit.rate_limiter_manager import RateLimiterManager
from stylobate_ratelimit.stand_in import StandIn
from stylobate_ratelimit.store.memory import MemoryLimitStore
from stylobate_ratelimit.store.redis import RedisLimitStore

from .limits import checks, window


@pytest_asyncio.fixture
async def own_valkey(tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    """Give a server that this test may kill."""
    run = run_folder(tmp_path)
    server = EmbeddedValkey(tmp_path / "data", run)
    await server.start()
    await server.ready()
    yield server
    await server.stop()
    shutil.rmtree(run, ignore_errors=True)


async def test_a_killed_valkey_degrades_and_its_return_heals(own_valkey):
    """Checks go on locally within the limit, are said to be degraded, and are shared again without anybody's help."""
    limit = window(5, timedelta(hours=1))
    async with RedisManager.open(own_valkey.url) as redis:
        manager = RateLimiterManager(RedisLimitStore(redis), StandIn(MemoryLimitStore()), {})
        watching = asyncio.create_task(manager.watch())
        outcomes = await manager.check([checks(limit, "anna", "anna")])
        assert (outcomes.degraded, list(outcomes.groups[0].remaining)) == (False, [4, 3])

        own_valkey.process.kill()

        async def is_degraded() -> bool:
            return (await manager.check([checks(limit, "ben")])).degraded

        await until(is_degraded)
        assert (await manager.health()).status is Status.DEGRADED
        outcomes = await manager.check([checks(limit, *["cara"] * 7)])
        assert list(outcomes.groups[0].allowed) == [True] * 5 + [False] * 2

        await own_valkey.process.wait()
        await own_valkey.start()
        await own_valkey.ready()

        async def is_healthy() -> bool:
            return (await manager.health()).status is Status.HEALTHY

        await until(is_healthy)
        outcomes = await manager.check([checks(limit, "dora")])
        assert (outcomes.degraded, list(outcomes.groups[0].remaining)) == (False, [4])
        watching.cancel()
        await asyncio.wait([watching])
