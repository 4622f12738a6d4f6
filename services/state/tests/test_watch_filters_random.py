"""Watches with filters beside a plain model: whatever happens in whatever order, a reader has what matches, and nothing else."""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from stylobate.clients.bans import BanList
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.rpc.call import NO_CAUSE
from stylobate_state.filters import Filter
from stylobate_state.model import Change, StateKey
from stylobate_state.settings import StateSettings
from stylobate_state.watch import pages, watcher
from stylobate_state.watch.feed import Feed
from stylobate_state.watch.told import Changed, Gap, Snapshot
from stylobate_state.watch.watch_manager import WatchEnvironment, WatchManager

from .conftest import Grants
from .samples import ADA, write
from .test_watch import open_parts
from .test_watch_filters import BOUND

__all__ = ["open_parts"]

KEYS = [f"k{number}" for number in range(7)]
SHOP = BOUND["shop"]
STEPS = 250


class Stood(NamedTuple):
    """An object at one version."""

    status: str
    total: Any
    city: str
    owner: str


QUESTIONS: list[tuple[list[Filter], Callable[[Stood], bool]]] = [
    ([Filter("total", "gte", ("2",))], lambda one: isinstance(one.total, int) and one.total >= 2),
    (
        [Filter("total", "in", ("1", "3")), Filter("address.city", "prefix", ("b",))],
        lambda one: one.total in {1, 3} and one.city.startswith("b"),
    ),
    ([Filter("status", "eq", ("paid",)), Filter("address.city", "exists", ("true",))], lambda one: one.status == "paid"),
    ([Filter("owner", "eq", ("ada",))], lambda one: one.owner == "ada"),
]


class World:
    """A store whose events are numbered when chance wants it, some of them written by an earlier release."""

    def __init__(self, seed: int, parts: Any) -> None:
        self.chance = random.Random(seed)
        self.store, self.log, self.numbering = parts
        self.feed = Feed(self.log)
        self.stood: defaultdict[str, list[Stood | None]] = defaultdict(lambda: [None])
        """By key what stood there at each version; None: nothing."""

    def is_there(self, key: str, matches: Callable[[Stood], bool]) -> bool:
        """Return whether what stands at a key matches."""
        return (now := self.stood[key][-1]) is not None and matches(now)

    async def step(self) -> None:
        """Write, number, bring, or take the log back."""
        match self.chance.choices(("write", "number", "miss", "epoch"), (6, 4, 2, 0.1))[0]:
            case "write":
                await self._write(self.chance.choice(KEYS))
            case "number":
                self.feed.offer(await self.numbering.number(1) or ())
            case "miss":  # numbered by another process
                await self.numbering.number(1)
                self.feed.wake()
            case "epoch":
                await self.numbering.begin(f"e{self.chance.randrange(10**9)}", "test")
                self.feed.wake()
        for _ in range(self.chance.randrange(4)):
            await asyncio.sleep(0)

    async def _write(self, key: str) -> None:
        was, chance = self.stood[key][-1], self.chance
        kind = chance.choice([Change.UPDATED, Change.UPDATED, Change.TRANSITIONED, Change.ASSIGNED, Change.DELETED])
        status, total, city, owner = was or Stood("new", 0, "", "ada")
        if was is None or kind is not Change.ASSIGNED:
            total, city = chance.choice([0, 1, 2, 3, "3", None]), chance.choice(["a", "b", "bb", "c"])
        if was is None or kind is Change.ASSIGNED:
            owner = chance.choice(["ada", "bob"])
        changes: dict[str, Any] = {"owner": owner, "actor": owner}
        if was is None:
            status = changes["status"] = chance.choice(["new", "paid"])
        else:
            changes["change"] = kind
        if was is not None and kind is Change.TRANSITIONED:
            changes |= {"event": "turn", "from_status": status}
            status = changes["status"] = {"new": "paid", "paid": "new"}[status]
        now = None if was is not None and kind is Change.DELETED else Stood(status, total, city, owner)
        data = b"null" if now is None else json.dumps({"total": total, "address": {"city": city}}).encode()
        beside = SHOP.beside(NO_CAUSE) if chance.random() > 0.02 else None
        expected = None if was is not None and kind is not Change.ASSIGNED else len(self.stood[key]) - 1 if was is not None else 0
        (outcome,) = await self.store.write([write(StateKey("default", "shop", key), expected, data, beside=beside, **changes)])
        self.stood[key].append(now)
        assert outcome.version == len(self.stood[key]) - 1


class Reader:
    """Who follows what matches, and checks that nothing was left out and nothing told that does not match."""

    def __init__(self, world: World, question: tuple[list[Filter], Callable[[Stood], bool]]) -> None:
        self.world = world
        self.filters, self.matches = question
        self.has: set[str] = set()
        self.known: dict[str, int] = {}
        """By key the last version heard of since the snapshot began."""
        self.is_whole = False
        self.wrong: list[str] = []

    def take(self, told: Any) -> None:
        """Hear what is told."""
        match told:
            case Snapshot(states, part, is_complete):
                self.is_whole = is_complete
                if part == 1:
                    self.has, self.known = set(), {}
                self.has |= {state.key.key for state in states}
                self.known |= {state.key.key: state.version for state in states}
                self.wrong += [str(state) for state in states if not self._matched(state.key.key, state.version)]
            case Changed(at, version, entry):
                self._change(at.key, version, None if entry is None else entry.change)
            case Gap():
                self.has, self.known, self.is_whole = set(), {}, False

    def _matched(self, key: str, version: int) -> bool:
        return (stood := self.world.stood[key][version]) is not None and self.matches(stood)

    def _change(self, key: str, version: int, change: Change | None) -> None:
        known = self.known.get(key)
        if change is not None and change is not Change.DELETED and not self._matched(key, version):
            self.wrong.append(f"{key} {version}: {change}, and does not match")
        if change is None and self._matched(key, version):
            self.wrong.append(f"{key} {version}: gone, and matches")
        if known is not None and version <= known:
            self.wrong.append(f"{key} {version} behind {known}")
        elif known is not None:
            # what is had is heard of until it leaves; what is not, as soon as it matches
            left_out = [one for one in range(known + 1, version) if key in self.has or self._matched(key, one)]
            self.wrong += [f"{key} {one}: left out before {version}" for one in left_out]
        self.known[key] = version
        self.has.discard(key) if change in {None, Change.DELETED} else self.has.add(key)

    def is_done(self) -> bool:
        """Return whether it has what matches now, and nothing else."""
        return self.is_whole and self.has == {key for key in KEYS if self.world.is_there(key, self.matches)}

    async def follow(self, watches: WatchManager, is_over: asyncio.Event) -> None:
        """Watch, leaving now and then and coming back with the last position."""
        position = ""
        while True:
            if not self.is_whole:  # what was begun counts no more
                self.has, self.known = set(), {}
            telling = watches.watch(ADA, "", "shop", "", filters=self.filters, position=position)
            left = self.world.chance.randrange(1, 30)
            async for place, told in telling:
                self.take(told)
                # what was told before a gap counts no more, and neither does where that was
                position, left = place or ("" if isinstance(told, Gap) else position), left - 1
                if (is_over.is_set() and self.is_done()) or (left <= 0 and told is not None):
                    break
            await telling.aclose()
            if is_over.is_set() and self.is_done():
                return


async def what_matches_is_had(seed: int, parts: Any) -> None:
    """Have a reader for each question, and some hundred random steps."""
    world, is_over = World(seed, parts), asyncio.Event()
    await world.store.declare(SHOP.indexes)
    await world.numbering.claim(1)
    readers = [Reader(world, question) for question in QUESTIONS]
    environment = WatchEnvironment(
        world.log, world.feed, world.store, AccessEvaluator(Grants()), BanList(), lambda _: False, lambda: 0.0
    )
    feeding = asyncio.create_task(world.feed.run())
    async with WatchManager.open(BOUND, environment, StateSettings(watch_quiet=0.02)) as watches:
        following = [asyncio.create_task(reader.follow(watches, is_over)) for reader in readers]
        for _ in range(STEPS):
            await world.step()
        world.feed.offer(await world.numbering.number(1) or ())
        is_over.set()
        await asyncio.wait_for(asyncio.gather(*following), 30)
    feeding.cancel()
    assert [reader.wrong for reader in readers] == [[]] * len(readers)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have snapshots of several parts, and no pause between those for what an earlier release wrote."""
    monkeypatch.setattr(pages, "_PART", 2)
    monkeypatch.setattr(watcher, "_UNKNOWN_EVERY_S", 0.0)


@pytest.mark.parametrize("seed", range(3))
async def test_what_matches_is_had(seed: int, open_parts: Callable[[], Awaitable[Any]]) -> None:
    """Whoever leaves and comes back, whoever numbers, whatever is taken back, whichever release writes."""
    await what_matches_is_had(seed, await open_parts())


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("open_parts", ["memory"], indirect=True)
async def test_what_matches_is_had_for_long(open_parts: Callable[[], Awaitable[Any]]) -> None:
    """Five hundred worlds."""
    for seed in range(500):
        await what_matches_is_had(seed, await open_parts())
