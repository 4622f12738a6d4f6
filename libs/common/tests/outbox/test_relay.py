"""The relay on real servers: woken, duplicated, killed, without Redis."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from stylobate.database import DatabaseManager, MigrationSet
from stylobate.health import Status
from stylobate.leases import LeaseManager
from stylobate.leases.postgres import PostgresLeaseStore
from stylobate.outbox import Event, Position, Relay
from stylobate.outbox.postgres import PostgresEventLog, PostgresNumbering, PostgresOutbox
from stylobate.redis import RedisManager
from stylobate.testing.databases import Databases
from stylobate.testing.fixtures import DatabaseFor
from stylobate.testing.until import until

GapFree = Callable[[Any], bool]

SETS = (MigrationSet.of("leases", "stylobate.leases"), MigrationSet.of("outbox", "stylobate.outbox"))
TTL = timedelta(seconds=10)


@asynccontextmanager
async def running(database: DatabaseManager, redis: RedisManager, holder: str = "one", **options: Any) -> AsyncIterator[Relay]:
    """Give a relay that runs."""
    relay = Relay(
        PostgresEventLog(database, "test"),
        PostgresNumbering(database, "test"),
        LeaseManager(PostgresLeaseStore(database), holder, TTL),
        redis,
        **options,
    )
    task = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def copies(redis: RedisManager) -> AsyncIterator[list[tuple[str, Event]]]:
    """Give the live copies heard on Redis so far, with their channels."""
    heard: list[tuple[str, Event]] = []
    subscription = await redis.subscribe(["hooks:*"], lambda channel, text: heard.append((channel, Event.parse(text))))
    yield heard
    await subscription.close()


async def test_committed_events_are_numbered_and_published(journal: Any, redis: RedisManager, copies: Any) -> None:
    """A commit appears in the log and as a live copy on `hooks:<type>`, the same event in both, in the same order."""
    async with running(journal.database, redis):
        written = await journal.write("s1", "s1", "s1")
        await until(lambda: len(copies) == 3)
    assert [channel for channel, _ in copies] == ["hooks:test.thing.changed"] * 3
    log = [logged.event for logged in await journal.all()]
    assert [event.id for event in log] == [event.id for event in written]
    assert [event for _, event in copies] == log


async def test_wake_is_heard_in_the_process_that_leads(journal: Any, database_for: DatabaseFor, redis: RedisManager) -> None:
    """A commit is numbered at once when its own process or another one says so, without waiting for the next look."""
    told = asyncio.Event()
    patient: dict[str, Any] = {"on_numbered": told.set, "look_every": timedelta(hours=1)}
    async with running(journal.database, redis, **patient) as leader:
        await until(lambda: leader._is_leading)
        async with running(await database_for("test", *SETS), redis, "two") as other:
            for relay in (leader, other, leader, other):
                told.clear()
                await journal.write("s1")
                relay.wake()
                await asyncio.wait_for(told.wait(), 60)


async def test_two_relays_at_once(
    journal: Any, database_for: DatabaseFor, redis: RedisManager, copies: Any, is_gap_free: GapFree
) -> None:
    """Two relays over busy writers, the leading one stopped midway: every event once in the log, no gap, no copy twice."""
    second = await database_for("test", *SETS)
    async with running(second, redis, "two"):
        async with running(journal.database, redis, "one") as first:
            await asyncio.gather(*(journal.write(*(f"s{one}-{other % 3}" for other in range(9))) for one in range(20)))
            first.wake()
        await asyncio.gather(*(journal.write(*(f"t{one}-{other % 3}" for other in range(9))) for one in range(20)))
        await until(lambda: len(copies) >= 360)
    log = await journal.all()
    assert len(log) == 360
    assert is_gap_free(log)
    assert sorted(event.id for _, event in copies) == sorted(logged.event.id for logged in log)


async def test_killed_between_number_and_publish(
    databases: Databases, redis_url: str, redis: RedisManager, copies: Any, is_gap_free: GapFree
) -> None:
    """A relay killed (-9) right after numbering loses the live copies of that batch and no event: the next one goes on."""
    async with databases.fresh("test", *SETS) as url, DatabaseManager.open(url, service="test") as database:
        outbox, log = PostgresOutbox("test"), PostgresEventLog(database, "test")
        script = Path(__file__).with_name("relay_process.py")
        doomed = await asyncio.create_subprocess_exec(sys.executable, str(script), url, redis_url, stdout=asyncio.subprocess.PIPE)
        written = [Event.new("test.thing.changed", f"s{number}", number) for number in range(20)]
        for event in written[:10]:
            async with database.transaction() as connection:
                await outbox.append(connection, [event], stream="thing")
        assert doomed.stdout is not None
        async with asyncio.timeout(30):
            while await doomed.stdout.readline() != b"numbered\n":  # its log comes before
                assert doomed.returncode is None
        doomed.kill()
        await doomed.wait()
        numbered = len((await log.read(Position.origin())).events)
        assert numbered > 0
        assert copies == []
        for event in written[10:]:
            async with database.transaction() as connection:
                await outbox.append(connection, [event], stream="thing")
        async with running(database, redis):
            await until(lambda: len(copies) == 20 - numbered)
        page = await log.read(Position.origin(), limit=1000)
        assert sorted(logged.event.id for logged in page.events) == sorted(event.id for event in written)
        assert is_gap_free(page.events)


async def test_redis_down_does_not_hold_up_the_log(journal: Any, tmp_path: Path) -> None:
    """Without Redis events are numbered as ever; only their live copies are missing."""
    numbered: list[str] = []
    async with (
        RedisManager.open(f"unix://{tmp_path}/nobody.sock") as nowhere,
        running(journal.database, nowhere, on_numbered=lambda: numbered.append("test")),
    ):
        for _ in range(3):
            numbered.clear()
            await journal.write("s1")
            await until(lambda: numbered)
    assert len(await journal.all()) == 3


async def test_old_events_are_pruned(journal: Any, redis: RedisManager) -> None:
    """With a retention the leading relay removes published events that are older."""
    await journal.write("s1")
    await journal.database.execute("update outbox_event set time = now() - interval '2 days'")
    await journal.number()
    await journal.write("s1")
    async with running(journal.database, redis, retention=timedelta(days=1)):
        await until(journal.log.oldest, lambda found: found != Position.origin(), within_s=60)
    events, _ = await journal.after(await journal.log.oldest())
    assert [logged.number for logged in events] == [2]


async def test_a_relay_that_nobody_runs_is_degraded(journal: Any, redis: RedisManager) -> None:
    """A process that stands by says so when nobody relays; a lease from a clock that was ahead is taken and all is well."""
    leases = LeaseManager(PostgresLeaseStore(journal.database), "one")
    relay = Relay(PostgresEventLog(journal.database, "test"), PostgresNumbering(journal.database, "test"), leases, redis)
    health = await relay.health()
    assert (health.status, health.details) == (Status.DEGRADED, "nobody relays: nobody ever took the lease")
    lease = await leases.acquire("outbox-relay")
    assert lease is not None
    await journal.database.execute("update lease set holder = 'dead', expires_at = clock_timestamp() + interval '1 hour'")
    assert "further ahead" in (await relay.health()).details
    async with running(journal.database, redis, "two") as other:
        await until(lambda: other._is_leading)
        assert (await relay.health()).status is Status.HEALTHY
