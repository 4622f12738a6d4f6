"""The stores under test, on a clock that the test moves or on a real Valkey."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest
import pytest_asyncio
from stylobate.redis import RedisManager
from stylobate.testing import FakeClock
from stylobate.testing.valkey_cluster import ValkeyCluster
from stylobate_ratelimit.main import limit_store
from stylobate_ratelimit.stand_in import StandIn
from stylobate_ratelimit.store.memory import MemoryLimitStore
from stylobate_ratelimit.store.port import LimitStore


@dataclass(frozen=True, slots=True)
class StoreUnderTest:
    """A store and how its time goes by."""

    store: LimitStore
    pass_time: Callable[[timedelta], Awaitable[None]]
    """On the server's own clock time has to be waited for; keep periods short."""
    seconds: Callable[[], float]
    is_one_step: bool = True
    """Whether a check of several subjects is; else it is charged at each, and given back."""


@pytest_asyncio.fixture
async def valkey(redis_url: str) -> AsyncIterator[RedisManager]:
    """Give a manager of the session's Valkey, emptied."""
    async with RedisManager.open(redis_url) as redis:
        await redis.call("FLUSHDB")
        yield redis


def _memory() -> StoreUnderTest:
    clock = FakeClock()

    async def advance(by: timedelta) -> None:
        clock.advance(by)

    return StoreUnderTest(MemoryLimitStore(clock.seconds), advance, clock.seconds)


@pytest_asyncio.fixture(params=["memory", "redis", "cluster"])
async def under_test(request: pytest.FixtureRequest) -> AsyncIterator[StoreUnderTest]:
    """Give each adapter in turn."""
    if request.param == "memory":
        yield _memory()
        return
    if request.param == "cluster":
        cluster: ValkeyCluster = request.getfixturevalue("valkey_cluster")
        await cluster.flush()
        url = cluster.url
    else:
        url = request.getfixturevalue("redis_url")
    async with RedisManager.open(url) as redis:
        if not redis.is_cluster:
            await redis.call("FLUSHDB")
        store = limit_store(redis, StandIn(MemoryLimitStore()), timedelta(seconds=30))
        yield StoreUnderTest(
            store, lambda by: asyncio.sleep(by.total_seconds()), asyncio.get_running_loop().time, not redis.is_cluster
        )


@pytest.fixture
def store(under_test: StoreUnderTest) -> LimitStore:
    """Give the store alone, for tests in which time plays no part."""
    return under_test.store
