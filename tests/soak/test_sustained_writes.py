"""Queues in tables stay quick while they are written to without a pause: the last ten seconds are as fast as the first."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import pytest
from stylobate.audit import AuditRecord, AuditTrail
from stylobate.database import DatabaseManager, MigrationSet, Migrator
from stylobate.hooks.position_store import Move, Place, PositionStore
from stylobate.ids import new_id
from stylobate.launcher.embedded import EmbeddedPostgres, run_folder
from stylobate.leases import LeaseManager
from stylobate.outbox import Position, Relay
from stylobate.redis import RedisManager
from stylobate.stopping import end
from stylobate_state.model import Change, StateKey
from stylobate_state.store import Write
from stylobate_state.store.postgres import MIGRATIONS, PostgresStateStore

SECONDS, EDGE, AT_LEAST = 60, 10, 0.9
KEYS = 64
SETS = (*(MigrationSet.of(name, f"stylobate.{name}") for name in ("leases", "outbox", "audit", "hooks")), MIGRATIONS)

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[DatabaseManager]:
    """Give a database as it runs on a laptop, with its autovacuum."""
    run = run_folder(tmp_path)
    server = EmbeddedPostgres(tmp_path / "data", run)
    await server.start()
    try:
        await server.ready()
        await Migrator(server.url, "state", SETS).upgrade()
        async with DatabaseManager.open(server.url, service="state") as opened:
            yield opened
    finally:
        await server.stop()
        shutil.rmtree(run, ignore_errors=True)


async def steady(what: str, write: Callable[[], Awaitable[int]], *, at_once: int = 2) -> None:
    """Write without a pause and compare the last seconds with the first; prints both."""
    counts = [0] * SECONDS
    began = monotonic()

    async def go_on() -> None:
        while (second := int(monotonic() - began)) < SECONDS:
            counts[second] += await write()

    await asyncio.gather(*(go_on() for _ in range(at_once)))
    first, last = sum(counts[1 : EDGE + 1]) / EDGE, sum(counts[-EDGE:]) / EDGE
    print(f"\n{what}: {first:,.0f}/s in the first {EDGE} s, {last:,.0f}/s in the last, ratio {last / first:.2f}")  # noqa: T201  the figure
    assert last >= AT_LEAST * first


@asynccontextmanager
async def relaying(database: DatabaseManager, redis: RedisManager) -> AsyncIterator[Relay]:
    """Run the relay."""
    relay = Relay(database, LeaseManager(database, "soak"), redis, "state")
    task = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        await end([task])


async def test_state(database: DatabaseManager, redis: RedisManager) -> None:
    """Writes to the same 64 objects, each with its event, numbered by the relay."""
    store, turn = PostgresStateStore(database), 0

    async with relaying(database, redis) as relay:

        async def write() -> int:
            nonlocal turn
            turn += 1
            half = turn % 2 * KEYS // 2
            writes = [
                Write(
                    key=StateKey("default", "orders", f"k{number}"),
                    change=Change.CREATED if turn <= 2 else Change.UPDATED,
                    expected=0 if turn <= 2 else None,
                    owner="soak",
                    status=None,
                    data=b'{"n": 1}',
                    actor="soak",
                    event_id=new_id(),
                    event="",
                    from_status="",
                    depth=0,
                )
                for number in range(half, half + KEYS // 2)
            ]
            await store.write(writes)
            relay.wake()
            return len(writes)

        await steady("state", write)
        left = await database.fetchval("select count(*) from outbox_event where number is null")
        print(f"events left without a number: {left}")  # noqa: T201  the figure


async def test_hook_positions(database: DatabaseManager) -> None:
    """Positions of eight hooks that move on in all partitions."""
    store, turn = PositionStore(database), 0
    hooks = [f"h{number}" for number in range(8)]
    await store.add("state", hooks, Position.origin())
    await store.take("state", hooks, 1)

    async def write() -> int:
        nonlocal turn
        turn += 1
        moves = [Move(Place(hook, "state", partition, 1), turn) for hook in hooks for partition in range(16)]
        await store.move(moves)
        return len(moves)

    await steady("hook positions", write, at_once=1)


async def test_audit(database: DatabaseManager) -> None:
    """Records that are noted as quickly as they are written."""
    async with AuditTrail.open(database, "state", bound=2000) as trail:

        async def write() -> int:
            await trail.note(AuditRecord("a.b", actor="soak"))
            return 1

        await steady("audit", write, at_once=100)


async def test_leases(database: DatabaseManager) -> None:
    """Leases that are renewed all the time."""
    leases = LeaseManager(database, "soak")
    held = [await leases.acquire(f"l{number}") for number in range(4)]

    async def write() -> int:
        for lease in held:
            assert lease is not None
            assert await leases.renew(lease)
        return len(held)

    await steady("leases", write, at_once=1)
