"""Queues in tables stay quick while they are written to without a pause: the last ten seconds cost as much as the first."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import psutil
import pytest
from stylobate.audit import AuditRecord, AuditTrail
from stylobate.audit.postgres import PostgresAuditStore
from stylobate.database import DatabaseManager, MigrationSet, Migrator
from stylobate.hooks.port import Move, Place
from stylobate.hooks.postgres import PostgresHookStore
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.ids import new_id
from stylobate.launcher.embedded import EmbeddedPostgres, run_folder
from stylobate.leases import LeaseManager
from stylobate.leases.postgres import PostgresLeaseStore
from stylobate.outbox import Position, Relay
from stylobate.outbox.postgres import PostgresEventLog, PostgresNumbering
from stylobate.redis import RedisManager
from stylobate.stopping import end
from stylobate_state.model import Change, StateKey, Write
from stylobate_state.store.postgres import PostgresStateStore

SECONDS, EDGE, AT_MOST = 60, 10, 1.25
KEYS = 64
SETS = (
    *(MigrationSet.of(name, f"stylobate.{name}") for name in ("leases", "outbox", "audit", "hooks", "idempotency")),
    MigrationSet.of("state", "stylobate_state.store"),
)

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


async def steady(database: DatabaseManager, what: str, write: Callable[[], Awaitable[int]], *, at_once: int = 2) -> None:
    """Write without a pause; what a write costs the database at the end is compared with what it cost first. Prints both.

    Compared is processor time: writes per second say more of what else the machine does.
    """
    server = psutil.Process(await database.fetchval("select pg_backend_pid()")).parent()
    assert server is not None
    counts, spent = [0] * SECONDS, [0.0] * (SECONDS + 1)
    began = monotonic()

    async def go_on() -> None:
        while (second := int(monotonic() - began)) < SECONDS:
            counts[second] += await write()

    async def watch() -> None:
        for second in range(SECONDS + 1):
            await asyncio.sleep(began + second - monotonic())
            spent[second] = sum(sum(_cpu(process)) for process in server.children())

    await asyncio.gather(watch(), *(go_on() for _ in range(at_once)))
    rates = [sum(counts[begin : begin + EDGE]) / EDGE for begin in (1, SECONDS - EDGE)]
    costs = [(spent[begin + EDGE] - spent[begin]) / sum(counts[begin : begin + EDGE]) * 1e6 for begin in (1, SECONDS - EDGE)]
    print(  # noqa: T201  the figures
        f"\n{what}: {rates[0]:,.0f}/s and {costs[0]:,.0f} us of the database's processor a write in the first {EDGE} s, "
        f"{rates[1]:,.0f}/s and {costs[1]:,.0f} us in the last; ratio {costs[1] / costs[0]:.2f}"
    )
    assert costs[1] <= AT_MOST * costs[0]


def _cpu(process: psutil.Process) -> tuple[float, float]:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:  # a worker that has just ended
        return 0.0, 0.0
    return times.user, times.system


@asynccontextmanager
async def relaying(database: DatabaseManager, redis: RedisManager) -> AsyncIterator[Relay]:
    """Run the relay."""
    relay = Relay(
        PostgresEventLog(database, "state"),
        PostgresNumbering(database, "state"),
        LeaseManager(PostgresLeaseStore(database), "soak"),
        redis,
    )
    task = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        await end([task])


async def test_state(database: DatabaseManager, redis: RedisManager) -> None:
    """Writes to the same 64 objects, each with its event, numbered by the relay."""
    store, turn = PostgresStateStore(database, PostgresIdempotencyLedger(database)), 0

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

        await steady(database, "state", write)
        left = await database.fetchval("select count(*) from outbox_event where number is null")
        print(f"events left without a number: {left}")  # noqa: T201  the figure


async def test_hook_positions(database: DatabaseManager) -> None:
    """Positions of eight hooks that move on in all partitions."""
    store, turn = PostgresHookStore(database), 0
    hooks = [f"h{number}" for number in range(8)]
    await store.add("state", hooks, Position.origin())
    await store.take("state", hooks, 1)

    async def write() -> int:
        nonlocal turn
        turn += 1
        moves = [Move(Place(hook, "state", partition, 1), turn) for hook in hooks for partition in range(16)]
        await store.move(moves)
        return len(moves)

    await steady(database, "hook positions", write, at_once=1)


async def test_audit(database: DatabaseManager) -> None:
    """Records that are noted as quickly as they are written."""
    async with AuditTrail.open(PostgresAuditStore(database), "state", bound=2000) as trail:

        async def write() -> int:
            await trail.note(AuditRecord("a.b", actor="soak"))
            return 1

        await steady(database, "audit", write, at_once=100)


async def test_leases(database: DatabaseManager) -> None:
    """Leases that are renewed all the time."""
    leases = LeaseManager(PostgresLeaseStore(database), "soak")
    held = [await leases.acquire(f"l{number}") for number in range(4)]

    async def write() -> int:
        for lease in held:
            assert lease is not None
            assert await leases.renew(lease)
        return len(held)

    await steady(database, "leases", write, at_once=1)
