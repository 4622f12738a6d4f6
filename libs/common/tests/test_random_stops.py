"""Every manager, started and stopped at random moments, many times: none hangs, none leaves a task behind."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta

import pytest
from stylobate.app.tasks import SupervisedTasks
from stylobate.audit import AuditRecord, AuditTrail
from stylobate.audit.postgres import PostgresAuditStore
from stylobate.database import DatabaseManager, MigrationSet
from stylobate.hooks import HooksManager
from stylobate.hooks.postgres import PostgresHookStore
from stylobate.leases import LeaseManager
from stylobate.leases.postgres import PostgresLeaseStore
from stylobate.outbox import EventServicer, Relay
from stylobate.outbox.postgres import PostgresEventLog, PostgresNumbering
from stylobate.redis import RedisManager
from stylobate.rpc import LocalChannel, LocalServer, Servicers
from stylobate.stopping import end
from stylobate.testing.databases import Databases
from stylobate.testing.until import until

Opened = Callable[[str, str], AbstractAsyncContextManager[None]]
SETS = tuple(MigrationSet.of(name, f"stylobate.{name}") for name in ("leases", "audit", "hooks", "outbox"))
LATEST_S = 0.15


@asynccontextmanager
async def database(url: str, _redis: str) -> AsyncIterator[None]:
    """Open a database that is listened to."""
    async with DatabaseManager.open(url, service="state") as opened:
        listening = await opened.listen("c", print)
        yield
        await listening.close()


@asynccontextmanager
async def redis(_url: str, redis_url: str) -> AsyncIterator[None]:
    """Open Redis with a subscription."""
    async with RedisManager.open(redis_url) as opened:
        subscription = await opened.subscribe(["c*"], lambda *_: None)
        await opened.publish("c1", b"x")
        yield
        await subscription.close()


@asynccontextmanager
async def audit(url: str, _redis: str) -> AsyncIterator[None]:
    """Open a trail with notes."""
    async with (
        DatabaseManager.open(url, service="state") as opened,
        AuditTrail.open(PostgresAuditStore(opened), "state") as trail,
    ):
        await trail.note(AuditRecord("a.b"))
        yield


@asynccontextmanager
async def work(url: str, redis_url: str) -> AsyncIterator[None]:
    """Run a relay, serve the log it writes, and hooks on that log."""
    async with (
        DatabaseManager.open(url, service="state") as opened,
        RedisManager.open(redis_url) as copies,
        EventServicer.open(copies, [PostgresEventLog(opened, "state")]),
    ):
        tasks, leases = (
            SupervisedTasks("test"),
            LeaseManager(PostgresLeaseStore(opened), str(random.random()), timedelta(seconds=1)),
        )
        relay = Relay(PostgresEventLog(opened, "state"), PostgresNumbering(opened, "state"), leases, copies)
        channel = LocalChannel(LocalServer(Servicers()))
        hooks = HooksManager(copies, store=PostgresHookStore(opened), leases=leases, channel=lambda _: channel)
        hooks.on("state.a.b", lambda _: asyncio.sleep(0), name="h")
        hooks.on("state.a.b", lambda _: asyncio.sleep(0), name="l", delivery="each")
        try:
            tasks.start("relay", relay.run)
            tasks.start("hooks", hooks.run)
            yield
        finally:
            await tasks.close()


OPENERS: dict[str, Opened] = {"database": database, "redis": redis, "audit": audit, "work": work}


async def stop_at_random(opened: Opened, url: str, redis_url: str, times: int, chance: random.Random) -> None:
    """Start and stop it so often; each stop comes at a random moment and must end."""
    before = asyncio.all_tasks()

    async def run() -> None:
        async with opened(url, redis_url):
            await asyncio.Event().wait()

    for number in range(times):
        task = asyncio.create_task(run(), name=f"{opened.__name__} {number}")
        await asyncio.wait([task], timeout=chance.uniform(0, LATEST_S))
        assert await end([task], within=timedelta(seconds=30), again_s=3600), f"{task.get_name()} hangs"
        assert task.cancelled(), task.exception()
        await until(
            lambda: asyncio.all_tasks() - before, lambda left: not (left and all(one.cancelling() for one in left)), within_s=60
        )
        assert asyncio.all_tasks() == before, f"{task.get_name()} left tasks"


@pytest.fixture
async def url(databases: Databases) -> AsyncIterator[str]:
    """Give a database with every table."""
    async with databases.fresh("state", *SETS) as made:
        yield made


@pytest.mark.parametrize("opened", OPENERS.values(), ids=OPENERS)
async def test_a_stop_at_any_moment_ends(opened: Opened, url: str, redis_url: str) -> None:
    """A few dozen times each, by one cancellation; no task is left."""
    await stop_at_random(opened, url, redis_url, 24, random.Random(5))


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("opened", OPENERS.values(), ids=OPENERS)
async def test_many_stops_at_any_moment_end(opened: Opened, url: str, redis_url: str) -> None:
    """Hundreds of times each."""
    await stop_at_random(opened, url, redis_url, 400, random.Random())
