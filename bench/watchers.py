"""P14: from the commit of a change to those who watch, at 1,000 changes a second.

Half of the watchers watch beside the relay, which brings events as it numbers them; half in a feed that stands for another
process: live copies in Valkey wake it, and it reads the log. Each watches an object of its own; on either side two more watch
the whole namespace and hear of everything. PostgreSQL and Valkey are embedded ones, as durable as they are by default. Time is
taken when the write that commits returns, and when a watch tells.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from statistics import median, quantiles
from time import perf_counter, process_time

import uvloop
from stylobate.clients.bans import BanList
from stylobate.database import DatabaseManager, Migrator
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.declarations.model import AccessRule, NamespaceAccess, NamespaceDeclaration
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.ids import new_id
from stylobate.launcher.embedded import EmbeddedPostgres, EmbeddedValkey
from stylobate.leases import LeaseManager
from stylobate.leases.postgres import PostgresLeaseStore
from stylobate.outbox import EventServicer, Relay
from stylobate.outbox.postgres import PostgresEventLog, PostgresNumbering
from stylobate.redis import RedisManager
from stylobate.stopping import end
from stylobate.testing.logs import plain_logs
from stylobate.testing.until import until
from stylobate_state.model import Change, StateKey, Write, Written
from stylobate_state.namespace import Namespace
from stylobate_state.settings import StateSettings
from stylobate_state.spec import SPEC
from stylobate_state.store.postgres import PostgresStateStore
from stylobate_state.watch.feed import Feed
from stylobate_state.watch.told import Changed
from stylobate_state.watch.watch_manager import WatchEnvironment, WatchManager

from bench.callers import USER, Nobody
from bench.report import Report, Target
from bench.servers import embedded

_PER_S = 1000
_TICK_S = 0.01
_OBJECTS = 200
_OF_ALL = 2
_ANYBODY = AccessRule(("authenticated",))
_LAMPS = NamespaceDeclaration(
    name="lamps",
    module="bench",
    access=NamespaceAccess(read=_ANYBODY, list=_ANYBODY, create=_ANYBODY, write=_ANYBODY, delete=_ANYBODY),
)
_DATA = b'{"items":[{"sku":"a-1","quantity":2}],"total":2000}'
_BESIDE, _ELSEWHERE = "beside the relay", "in another process"


@dataclass
class _Round:
    """What was written and heard in one round."""

    committed: dict[str, float] = field(default_factory=dict)
    """By event, when."""
    heard: dict[str, list[tuple[str, float]]] = field(default_factory=lambda: {_BESIDE: [], _ELSEWHERE: []})
    cpu_s: float = 0.0
    seconds: float = 0.0

    def ids(self) -> list[set[str]]:
        """Return which events each side has heard of."""
        return [{event for event, _ in heard} for heard in self.heard.values()]

    def delays_ms(self, side: str) -> list[float]:
        """Return how long each word took; 0 where a watch was quicker than the answer to who wrote."""
        heard = [
            (event, at) for event, at in self.heard[side] if event in self.committed
        ]  # others are late ones of the round before
        return [1000 * max(0.0, at - self.committed[event]) for event, at in heard]


class _Bench:
    """A writer, a relay and two feeds."""

    def __init__(self, store: PostgresStateStore, relay: Relay, sides: dict[str, WatchManager]) -> None:
        self._store = store
        self._relay = relay
        self._sides = sides
        self._round = _Round()
        self._is_there = False

    async def watch(self, side: str, key: str, ready: asyncio.Event) -> None:
        """Watch, and note when each change is told."""
        async for _, told in self._sides[side].watch(USER, "", _LAMPS.name, key):
            ready.set()
            if isinstance(told, Changed) and told.entry is not None:
                self._round.heard[side].append((told.entry.event_id, perf_counter()))

    async def write(self, numbers: list[int]) -> None:
        """Write the next version of objects together, as the manager does. Raises RuntimeError for one that was refused."""
        writes = [self._next(number) for number in numbers]
        outcomes = await self._store.write(writes)
        if not all(isinstance(outcome, Written) for outcome in outcomes):
            raise RuntimeError(f"not written: {outcomes}")
        now = perf_counter()
        self._round.committed.update((write.event_id, now) for write in writes)
        self._relay.wake()

    def _next(self, number: int) -> Write:
        key = StateKey(USER.tenant, _LAMPS.name, f"k{number}")
        if self._is_there:
            return Write(key, Change.UPDATED, None, USER.id, None, _DATA, USER.id, new_id())
        return Write(key, Change.CREATED, 0, USER.id, "", _DATA, USER.id, new_id())

    async def create(self) -> None:
        """Make all objects."""
        await self.write(list(range(_OBJECTS)))
        self._is_there = True

    async def round(self, seconds: float) -> _Round:
        """Write at the rate; return what was heard, once all was."""
        found = self._round = _Round()
        loop, cpu, at, turn = asyncio.get_running_loop(), process_time(), 0, 0
        begun = loop.time()
        each = round(_PER_S * _TICK_S)
        under_way: set[asyncio.Task[None]] = set()
        while loop.time() < begun + seconds:
            numbers = [(at + number) % _OBJECTS for number in range(each)]
            at += each
            if len(under_way) < 8:  # noqa: PLR2004  else the server is behind, and the rate is not what it should be
                task = asyncio.create_task(self.write(numbers))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            turn += 1
            await asyncio.sleep(max(0.0, begun + turn * _TICK_S - loop.time()))
        await asyncio.gather(*under_way)
        found.seconds = loop.time() - begun
        await until(lambda: all(found.committed.keys() <= ids for ids in found.ids()), within_s=60)
        found.cpu_s = process_time() - cpu
        return found


@contextlib.asynccontextmanager
async def _opened(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> AsyncIterator[_Bench]:
    await Migrator(postgres.url, "state", SPEC.migrations).upgrade()
    namespaces = {_LAMPS.name: Namespace.of(_LAMPS, [], max_data_bytes=10_000)}
    settings = StateSettings(watches_per_caller=1_000_000)
    async with contextlib.AsyncExitStack() as stack:
        sides, feeds = dict[str, WatchManager](), dict[str, Feed]()
        for side in (_BESIDE, _ELSEWHERE):
            database = await stack.enter_async_context(DatabaseManager.open(postgres.url, service="state"))
            redis = await stack.enter_async_context(RedisManager.open(valkey.url))
            log, store = PostgresEventLog(database, "state"), PostgresStateStore(database, PostgresIdempotencyLedger(database))
            servicer = await stack.enter_async_context(EventServicer.open(redis))
            feed = feeds[side] = Feed(log)
            grown = servicer.add(log, feed.wake)
            environment = WatchEnvironment(log, feed, store, AccessEvaluator(Nobody()), BanList(), lambda _: False)
            sides[side] = await stack.enter_async_context(WatchManager.open(namespaces, environment, settings))
            if side == _BESIDE:
                leases = LeaseManager(PostgresLeaseStore(database), "bench")
                numbering = PostgresNumbering(database, "state")
                relay = Relay(log, numbering, leases, redis, on_numbered=grown, on_events=feed.offer)
                writer = store
        tasks = [asyncio.create_task(relay.run()), *(asyncio.create_task(feed.run()) for feed in feeds.values())]
        stack.push_async_callback(end, tasks)
        yield _Bench(writer, relay, sides)


async def _measure(counts: tuple[int, ...], rounds: int, seconds: float) -> dict[int, list[_Round]]:
    found: dict[int, list[_Round]] = {}
    for count in counts:
        async with embedded(EmbeddedPostgres) as postgres, embedded(EmbeddedValkey) as valkey, _opened(postgres, valkey) as bench:
            await bench.create()
            watching = []
            for number in range(count):
                side = (_BESIDE, _ELSEWHERE)[number % 2]
                key = "" if number < 2 * _OF_ALL else f"k{number % _OBJECTS}"
                ready = asyncio.Event()
                watching.append(asyncio.create_task(bench.watch(side, key, ready)))
                await ready.wait()
            await bench.round(1)  # for warming up
            found[count] = [await bench.round(seconds) for _ in range(rounds)]
            await end(watching)
    return found


def measure(counts: tuple[int, ...], rounds: int, seconds: float) -> Report:
    """P14, with each of these numbers of watchers."""
    plain_logs()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(_measure(counts, rounds, seconds))
    columns = ("watchers", "changes/s", "words/s", "CPU %", "p50 ms", "p99 ms", "slowest ms")
    report = Report("P14", f"from the commit to a watcher, {_PER_S} changes a second", columns)
    for count, some in found.items():
        for side in (_BESIDE, _ELSEWHERE):
            delays = [delay for one in some for delay in one.delays_ms(side)]
            p50, p99 = median(delays), quantiles(delays, n=100)[-1]
            seconds_all = sum(one.seconds for one in some)
            rate = sum(len(one.committed) for one in some) / seconds_all
            cpu = 100 * sum(one.cpu_s for one in some) / seconds_all
            report.rows.append((f"{count // 2} {side}", rate, len(delays) / seconds_all, cpu, p50, p99, max(delays)))
            if count == min(counts):
                report.targets += [
                    Target(f"p50 {side}, {count} watchers", p50, 5.0, unit="ms"),
                    Target(f"p99 {side}, {count} watchers", p99, 25.0, unit="ms"),
                ]
            report.raw[f"{count} {side}"] = {"p50": p50, "p99": p99, "rate": rate}
    report.notes.append(
        f"{rounds} rounds of {seconds:g} s; two watchers on either side hear of all; CPU is of writer, relay and both feeds"
    )
    return report
