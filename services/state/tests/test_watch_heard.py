"""Nobody watches in vain: bursts and silence, with the relay in this process and in another one."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median
from time import monotonic

import pytest
import pytest_asyncio
from stylobate.clients.bans import BanList
from stylobate.database import MigrationSet
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.identity import Principal
from stylobate.leases import LeaseManager
from stylobate.leases.postgres import PostgresLeaseStore
from stylobate.outbox import EventServicer, Relay
from stylobate.outbox.postgres import PostgresEventLog, PostgresNumbering
from stylobate.redis import RedisManager
from stylobate.stopping import end
from stylobate.testing.fixtures import DatabaseFor
from stylobate_state.model import StateKey
from stylobate_state.namespace import Namespace
from stylobate_state.settings import StateSettings
from stylobate_state.store.postgres import PostgresStateStore
from stylobate_state.watch.feed import Feed
from stylobate_state.watch.told import Changed, Snapshot
from stylobate_state.watch.watch_manager import WatchEnvironment, WatchManager

from .conftest import MIGRATION_SETS, Grants
from .samples import ADA, BOB, NOTES, write

WATCHERS, ROUNDS, MANY_ROUNDS = 40, 12, 500
KEYS = 20
NAMESPACES = {"notes": Namespace.of(NOTES, [], max_data_bytes=10_000)}


@dataclass
class Replica:
    """What of a process of the state service is needed here."""

    store: PostgresStateStore
    relay: Relay
    watches: WatchManager


class Follower:
    """One watch: the versions by key that it was told, and when it heard of each."""

    def __init__(self, replica: Replica, who: Principal, key: str) -> None:
        self.key = key
        self.heard: dict[tuple[str, int], float] = {}
        self.last: dict[str, int] = {}
        self.is_following = asyncio.Event()
        self._news = asyncio.Event()
        self._telling = replica.watches.watch(who, "192.0.2.1", "notes", key)

    async def run(self) -> None:
        """Follow; a version that is missing, or comes twice, ends it."""
        async for _, told in self._telling:
            match told:
                case Snapshot(states, _, is_complete):
                    self.last |= {state.key.key: state.version for state in states}
                    if is_complete:
                        self.is_following.set()
                case Changed(key, version):
                    assert version == self.last.get(key.key, 0) + 1, f"{key.key}: {version} behind {self.last.get(key.key)}"
                    self.last[key.key] = version
                    self.heard[key.key, version] = monotonic()
                    self._news.set()

    async def has_heard(self, wanted: set[tuple[str, int]]) -> None:
        """Wait for all of these that concern this watch."""
        mine = {(key, version) for key, version in wanted if self.key in {"", key}}
        while not mine <= self.heard.keys():
            self._news.clear()
            await self._news.wait()


@pytest_asyncio.fixture
async def replicas(database_for: DatabaseFor, redis: RedisManager) -> AsyncIterator[list[Replica]]:
    """Give two on one database: either may hold the relay's lease."""
    async with AsyncExitStack() as stack:
        found = []
        for name in ("a", "b"):
            database = await database_for("state", MigrationSet.of("leases", "stylobate.leases"), *MIGRATION_SETS)
            log, store = PostgresEventLog(database, "state"), PostgresStateStore(database, PostgresIdempotencyLedger(database))
            servicer = await stack.enter_async_context(EventServicer.open(redis))
            feed = Feed(log)
            grown = servicer.add(log, feed.wake)
            leases = LeaseManager(PostgresLeaseStore(database), name)
            numbering = PostgresNumbering(database, "state")
            relay = Relay(log, numbering, leases, redis, on_numbered=grown, on_events=feed.offer)
            environment = WatchEnvironment(log, feed, store, AccessEvaluator(Grants()), BanList(), lambda _: False)
            watches = await stack.enter_async_context(WatchManager.open(NAMESPACES, environment, StateSettings()))
            tasks = [asyncio.create_task(relay.run()), asyncio.create_task(feed.run())]
            stack.push_async_callback(end, tasks)
            found.append(Replica(store, relay, watches))
        yield found


async def all_heard(replicas: list[Replica], rounds: int, silence: Callable[[], Awaitable[object]]) -> list[float]:
    """Write bursts with silence behind each; return how long each word took, in seconds. Whoever hears nothing fails it."""
    people = (ADA, BOB)
    keys = ["", "", "", "", *(f"k{number % KEYS}" for number in range(WATCHERS - 4))]
    followers = [Follower(replicas[number % 2], people[number % 2], key) for number, key in enumerate(keys)]
    tasks = [asyncio.create_task(follower.run()) for follower in followers]
    took: list[float] = []
    try:
        await asyncio.wait_for(asyncio.gather(*(follower.is_following.wait() for follower in followers)), 60)
        versions = dict.fromkeys((f"k{number}" for number in range(KEYS)), 0)
        for burst in range(rounds):
            wanted: dict[tuple[str, int], float] = {}
            replica = replicas[burst % 2]
            for key in random.sample(sorted(versions), 1 + burst % KEYS):
                at = StateKey("default", "notes", key)
                (outcome,) = await replica.store.write([write(at, versions[key], b"{}")])
                versions[key] = outcome.version
                wanted[key, outcome.version] = monotonic()
                replica.relay.wake()
            hearing = asyncio.gather(*(follower.has_heard(set(wanted)) for follower in followers))
            done, _ = await asyncio.wait([hearing, *tasks], timeout=60, return_when=asyncio.FIRST_COMPLETED)
            assert hearing in done, [task.exception() for task in done] or f"burst {burst} was not heard by all"
            took += [follower.heard[one] - at for follower in followers for one, at in wanted.items() if one in follower.heard]
            await silence()
    finally:
        await end(tasks)
    ordered = sorted(took)
    p99 = ordered[int(len(ordered) * 0.99)]
    print(f"\n{len(took)} words: median {1000 * median(took):.1f} ms, p99 {1000 * p99:.1f} ms, max {1000 * ordered[-1]:.1f} ms")  # noqa: T201
    return took


async def test_forty_watchers_hear_every_burst(replicas: list[Replica]) -> None:
    """On two replicas, each of which writes in turn: everything is heard by everybody whom it concerns, once and in order."""
    await all_heard(replicas, ROUNDS, lambda: asyncio.sleep(0))


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_forty_watchers_hear_every_burst_within_a_second(replicas: list[Replica]) -> None:
    """500 rounds, with silence of up to two seconds behind each, and now and then so long that nobody looks often any more."""
    chance = random.Random(8)

    async def silence() -> None:
        await asyncio.sleep(chance.choice([0, 0.05, 0.3, 2.0, 0, 0.1, 0.2, 0.5] * 12 + [12.0]))

    took = await all_heard(replicas, MANY_ROUNDS, silence)
    late = [one for one in took if one > 1.0]
    print(f"later than a second: {len(late)}")  # noqa: T201  the figure
    assert not late
