"""Watches beside a plain model: whatever happens in whatever order, each change is told once and in order."""

import asyncio
import random

import pytest
from stylobate.clients.bans import BanList
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.outbox.memory import MemoryEventLog
from stylobate.testing import FakeClock
from stylobate_state.model import Change, StateKey
from stylobate_state.namespace import Namespace
from stylobate_state.settings import StateSettings
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.watch.feed import Feed
from stylobate_state.watch.told import Changed, Gap, Snapshot
from stylobate_state.watch.watch_manager import WatchEnvironment, WatchManager

from .conftest import Grants
from .samples import ADA, NOTES, write

_BEGINS = {Change.CREATED, Change.DELETED, Change.UPDATED}
KEYS = ("a", "b", "c", "d")
NAMESPACES = {"notes": Namespace.of(NOTES, [], max_data_bytes=10_000)}


class World:
    """A store whose events are numbered when chance wants it, and are brought to the feed, or found by a look."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.log = MemoryEventLog("state", FakeClock())
        self.store = MemoryStateStore(FakeClock(), self.log)
        self.feed = Feed(self.log)
        self.versions: dict[str, int] = {}
        self.living: set[str] = set()

    async def step(self) -> None:
        """Write, number, bring, or take the log back."""
        match self.chance.choices(("write", "number", "miss", "epoch"), (6, 4, 2, 0.1))[0]:
            case "write":
                await self._write(self.chance.choice(KEYS))
            case "number":
                self.feed.offer(self.log.number_now())
            case "miss":  # numbered by another process
                self.log.number_now()
                self.feed.wake()
            case "epoch":
                await self.log.begin(f"e{self.chance.randrange(10**9)}", "test")
                self.feed.wake()
        for _ in range(self.chance.randrange(4)):
            await asyncio.sleep(0)

    async def _write(self, key: str) -> None:
        at = StateKey("default", "notes", key)
        if key in self.living and self.chance.random() < 0.2:
            one = write(at, None, b"null", change=Change.DELETED)
            self.living.discard(key)
        else:
            one = write(at, None if key in self.living else 0)
            self.living.add(key)
        (outcome,) = await self.store.write([one])
        self.versions[key] = outcome.version


async def watch(world: World, watches: WatchManager, key: str, is_over: asyncio.Event, wrong: list[str]) -> dict[str, int]:
    """Follow, leaving now and then and coming back with the last position; return the last versions by key."""
    position, last, is_whole = "", dict[str, int](), False
    while True:
        telling = watches.watch(ADA, "", "notes", key, position=position)
        left = world.chance.randrange(1, 30)
        async for place, told in telling:
            match told:
                case Snapshot(states, part, is_whole):
                    last = {} if part == 1 else last
                    last |= {state.key.key: state.version for state in states}
                case Changed(at, version, entry):
                    known = last.get(at.key)
                    # of what a snapshot does not show a creation may come, or the deletion that it did not live to see
                    is_next = version == known + 1 if known else entry is not None and entry.change in _BEGINS
                    if not is_next:
                        wrong.append(f"{at.key}: {version} behind {known}")
                    last[at.key] = version
                case Gap():
                    last, is_whole = {}, False
            position = place or position
            left -= 1
            wanted = {name: version for name, version in world.versions.items() if key in {"", name}}
            is_there = all(last.get(name, 0 if name in world.living else one) == one for name, one in wanted.items())
            if is_over.is_set() and is_whole and is_there:
                await telling.aclose()
                return last
            if left <= 0 and told is not None:
                break
        await telling.aclose()


async def every_change_once(seed: int) -> None:
    """Three watches of everything and one of an object, some 300 random steps."""
    world, wrong, is_over = World(seed), list[str](), asyncio.Event()
    environment = WatchEnvironment(
        world.log, world.feed, world.store, AccessEvaluator(Grants()), BanList(), lambda _: False, lambda: 0.0
    )
    feeding = asyncio.create_task(world.feed.run())
    async with WatchManager.open(NAMESPACES, environment, StateSettings(watch_quiet=0.02)) as watches:
        watching = [asyncio.create_task(watch(world, watches, key, is_over, wrong)) for key in ("", "", "", "a")]
        for _ in range(300):
            await world.step()
        world.feed.offer(world.log.number_now())
        is_over.set()
        ends = await asyncio.wait_for(asyncio.gather(*watching), 20)
    feeding.cancel()
    assert wrong == []
    for last in ends[:3]:
        assert {key: last[key] for key in world.living} == {key: world.versions[key] for key in world.living}


@pytest.mark.parametrize("seed", range(4))
async def test_every_change_once(seed: int) -> None:
    """Whoever leaves and comes back, whoever numbers, whatever is taken back."""
    await every_change_once(seed)


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_every_change_once_for_long() -> None:
    """A thousand worlds."""
    for seed in range(1000):
        await every_change_once(seed)
