"""P16: timers among few and among many that wait, and what a guard costs.

The waiting ones are put into the tables with SQL, a day ahead. Then timers come due: all at once, which gives the rate, and one
after the other while the runner looks by itself, which gives how late they are. The runner's process is this one.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter, process_time
from typing import NamedTuple

import psutil
import uvloop
from stylobate.database import DatabaseManager, Migrator
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.declarations.guard import Guard
from stylobate.declarations.model import (
    AccessRule,
    NamespaceAccess,
    NamespaceDeclaration,
    TimerDeclaration,
    TransitionDeclaration,
)
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.ids import new_id
from stylobate.launcher.embedded import EmbeddedPostgres
from stylobate.leases import LeaseManager
from stylobate.leases.postgres import PostgresLeaseStore
from stylobate.rpc import LocalChannel, LocalServer, Servicers
from stylobate.stopping import end
from stylobate.testing.logs import plain_logs
from stylobate_state.guards import Asking, require_guard
from stylobate_state.hooks import BeforeHooks
from stylobate_state.model import StateKey, StateRecord
from stylobate_state.operation import Put
from stylobate_state.settings import StateSettings
from stylobate_state.spec import SPEC
from stylobate_state.state_manager import StateManager
from stylobate_state.state_writer import Environment
from stylobate_state.store.postgres import PostgresStateStore
from stylobate_state.store.postgres_timers import PostgresTimerStore
from stylobate_state.timer_runner import TimerRunner

from bench.callers import USER, Nobody
from bench.report import Report, Target
from bench.servers import embedded

WAITING = (10_000, 1_000_000)
_ANYBODY = AccessRule(("authenticated",))
_DATA = b'{"items":[{"sku":"a-1","quantity":2}],"total":2000}'
_LAMPS = NamespaceDeclaration(
    name="lamps",
    module="bench",
    initial="on",
    statuses=("off", "on"),
    access=NamespaceAccess(read=_ANYBODY, list=_ANYBODY, create=_ANYBODY, write=_ANYBODY, delete=_ANYBODY),
    transitions={"switch_off": TransitionDeclaration("switch_off", ("on",), "off", _ANYBODY)},
    timers=(TimerDeclaration("on", timedelta(seconds=1), "switch_off"),),
)
_PLAIN = replace(_LAMPS, name="candles", timers=())
_WAIT = """
    with made as (
        insert into state (tenant, namespace, key, version, status, data, owner, first_version, created_at, updated_at, timers)
        select 'default', 'lamps', 'waiting-' || n, 1, 'on', '{}', 'ada', 1, now(), now(),
            jsonb_build_array(jsonb_build_object('event', 'switch_off', 'at', now() + interval '1 day', 'since', 1))
        from generate_series($1::int, $2::int) n
        returning key
    )
    insert into state_timer (tenant, namespace, key, since, event, due_at)
    select 'default', 'lamps', key, 1, 'switch_off', now() + interval '1 day' from made
"""


class _Found(NamedTuple):
    waiting: int
    rate: float
    """Timers fired a second, when many are due at once."""
    client_us: float
    """CPU of this process per timer."""
    late_ms: float
    """Median, from the time of a timer to its event's."""
    late_p99_ms: float
    rss_mb: float


class _Bench:
    def __init__(self, database: DatabaseManager, manager: StateManager) -> None:
        self._database = database
        self._manager = manager
        self._runner = TimerRunner(PostgresTimerStore(database), manager.namespaces, manager)
        self._made = 0

    async def fill(self, begun: int, goal: int) -> None:
        """Have this many wait."""
        for first in range(begun + 1, goal + 1, 10_000):
            await self._database.execute(_WAIT, first, min(first + 9_999, goal))
        await self._database.execute("analyze state")
        await self._database.execute("analyze state_timer")

    async def place(self, count: int, namespace: str = "lamps") -> float:
        """Create objects, 64 at a time, and return the microseconds of each."""
        keys = iter(range(self._made, self._made + count))
        self._made += count
        begun = perf_counter()

        async def some() -> None:
            for key in keys:
                await self._manager.change(USER, namespace, str(key), Put(_DATA), expected=0)

        await asyncio.gather(*(some() for _ in range(64)))
        return (perf_counter() - begun) / count * 1e6

    async def at_once(self, count: int) -> tuple[float, float]:
        """Let timers be due at once; return how many are fired in a second, and the CPU of each in microseconds."""
        await self.place(count)
        await self._database.execute("update state_timer set due_at = now() where due_at < now() + interval '1 hour'")
        begun, cpu, fired = perf_counter(), process_time(), 0
        while due := (await self._runner.fire_due()).timers:
            fired += len(due)
        return fired / (perf_counter() - begun), (process_time() - cpu) / fired * 1e6

    async def one_by_one(self, count: int, leases: LeaseManager) -> list[float]:
        """Let timers be due one after the other; return how late each was fired, in milliseconds."""
        task = asyncio.create_task(self._runner.run(leases))
        try:
            first = self._made
            for _ in range(count):
                await self.place(1)
                await asyncio.sleep(0.01)
            while True:
                rows = await self._database.fetch(
                    "select extract(epoch from updated_at - created_at) * 1000 - 1000 from state"
                    " where namespace = 'lamps' and key = any($1::text[]) and status = 'off'",
                    [str(key) for key in range(first, first + count)],
                )
                if len(rows) == count:
                    return sorted(float(row[0]) for row in rows)
                await asyncio.sleep(0.1)
        finally:
            await end([task])


@contextlib.asynccontextmanager
async def _opened(postgres: EmbeddedPostgres) -> AsyncIterator[tuple[_Bench, LeaseManager]]:
    await Migrator(postgres.url, "state", SPEC.migrations).upgrade()
    settings = StateSettings()
    async with DatabaseManager.open(postgres.url, service="state") as database:
        environment = Environment(
            store=PostgresStateStore(database, PostgresIdempotencyLedger(database)),
            access=AccessEvaluator(Nobody()),
            hooks=BeforeHooks(LocalChannel(LocalServer(Servicers())), settings.hook_timeout),  # none is declared
            committed=lambda _namespace: None,
            clock=lambda: datetime.now(UTC),
            new_id=new_id,
        )
        declared = {one.name: one for one in (_LAMPS, _PLAIN)}
        async with StateManager.open(declared, environment, max_data_bytes=settings.max_data_bytes) as manager:
            yield _Bench(database, manager), LeaseManager(PostgresLeaseStore(database), "bench")


async def _measure(waiting: tuple[int, ...], count: int) -> tuple[list[_Found], float]:
    found, there = [], 0
    async with embedded(EmbeddedPostgres) as postgres, _opened(postgres) as (bench, leases):
        await bench.place(256, "candles")
        pairs = [(await bench.place(1024), await bench.place(1024, "candles")) for _ in range(5)]
        cost = median(timed / plain for timed, plain in pairs)
        await bench.at_once(1)
        for goal in waiting:
            await bench.fill(there, goal)
            there = goal
            rates = [await bench.at_once(count) for _ in range(3)]
            late = await bench.one_by_one(200, leases)
            rate, cpu = (median(column) for column in zip(*rates, strict=True))
            rss = psutil.Process().memory_info().rss / 1e6
            found.append(_Found(goal, rate, cpu, median(late), late[len(late) * 99 // 100], rss))
    return found, cost


def _guard_us(rounds: int = 5000) -> float:
    """Return what one guard costs."""
    now = datetime.now(UTC)
    present = StateRecord(StateKey("default", "lamps", "1"), 1, "on", _DATA, USER.id, now, now)
    guard, asking = Guard('data.total > 0 && now - object.created_at < duration("1h")'), Asking(USER, lambda: now)
    begun = perf_counter()
    for _ in range(rounds):
        require_guard(guard, present, "switch_off", {}, asking)
    return (perf_counter() - begun) / rounds * 1e6


def measure(waiting: tuple[int, ...] = WAITING, count: int = 2560) -> Report:
    """P16."""
    plain_logs()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found, cost = runner.run(_measure(waiting, count))
    columns = ("waiting", "fired/s", "client CPU us", "late, median ms", "late, p99 ms", "RSS MB")
    report = Report("P16", "timers that come due among many that wait", columns)
    report.rows += [(f"{one.waiting:,}", *one[1:]) for one in found]
    few, many = found[0], found[-1]
    report.targets += [
        Target("fired/s among many against few", many.rate / few.rate, 0.8, at_least=True),
        Target("memory among many against few", many.rss_mb / few.rss_mb, 1.1),
        Target("late among many, p99", many.late_p99_ms, 1000.0, unit="ms"),
        Target("a change that sets a timer against one that does not", cost, 1.3),
        Target("a guard", _guard_us(), 50.0, unit="us"),
    ]
    report.raw = {"found": [one._asdict() for one in found]}
    report.notes.append(f"rates: medians of three times {count} at once; lateness: 200 timers, one every 10 ms")
    return report
