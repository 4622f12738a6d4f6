"""Copies of objects: given up with the next change, kept while the database is away."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from stylobate.errors import UnavailableError
from stylobate.outbox.memory import MemoryEventLog
from stylobate.testing import FakeClock
from stylobate.testing.until import until
from stylobate_state.model import StateKey, StateRecord
from stylobate_state.state_cache import CacheUse, StateCache
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.watch.feed import Feed

from .samples import deletion, write

A, B = (StateKey("default", "orders", name) for name in "ab")


@dataclass
class Kept:
    """A store with its log, and copies of what stands in it."""

    store: MemoryStateStore
    log: MemoryEventLog
    feed: Feed
    cache: StateCache
    gates: list[asyncio.Event] = field(default_factory=list)
    """Reads wait for the last of these after they have read."""

    async def read(self, keys: Sequence[StateKey]) -> Mapping[StateKey, StateRecord]:
        """Read what stands, and bring it when the gate opens."""
        found = await self.store.read(keys)
        for gate in self.gates[-1:]:
            await gate.wait()
        return found

    async def get(self, *keys: StateKey) -> tuple[list[int], CacheUse]:
        """Return the versions that the cache gives out."""
        found, use = await self.cache.many(keys, self.read)
        return [found[key].version for key in keys if key in found], use

    def tell(self) -> None:
        """Let the log number what was written, and the feed hear of it."""
        self.feed.offer(self.log.number_now())


def kept(max_bytes: int = 1 << 20) -> Kept:
    """Begin with nothing."""
    clock = FakeClock()
    log = MemoryEventLog("state", clock)
    feed = Feed(log)
    return Kept(MemoryStateStore(clock, log), log, feed, StateCache(feed, max_bytes=max_bytes))


@pytest_asyncio.fixture
async def here() -> AsyncIterator[Kept]:
    """Give one with an object in it."""
    found = kept()
    await found.store.write([write(A, 0)])
    found.tell()
    yield found


async def test_a_copy_is_given_out_until_the_next_change_is_heard(here):
    """Whatever the change is."""
    assert await here.get(A) == ([1], CacheUse(0, 1, 0.0))
    assert await here.get(A) == ([1], CacheUse(1, 0, 0.0))
    await here.store.write([write(A, 1)])
    assert await here.get(A) == ([1], CacheUse(1, 0, 0.0))
    here.tell()
    assert await here.get(A) == ([2], CacheUse(0, 1, 0.0))
    await here.store.write([deletion(A, 2)])
    here.tell()
    found, _ = await here.cache.many([A], here.read)
    assert found[A].is_deleted


async def test_what_is_not_there_is_not_kept(here):
    """It is asked for each time: nothing tells of a first key."""
    assert await here.get(B, A) == ([1], CacheUse(0, 2, 0.0))
    await here.store.write([write(B, 0)])
    assert await here.get(B, A) == ([1, 1], CacheUse(1, 1, 0.0))


async def test_what_was_read_before_a_change_is_not_kept_behind_it(here):
    """A read that takes long must not bring back what is over."""
    gate = asyncio.Event()
    await here.get()  # it listens from now on
    here.gates.append(gate)
    slow = asyncio.create_task(here.get(A))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await here.store.write([write(A, 1)])
    here.tell()
    gate.set()
    assert (await slow)[0] == [1]  # it was asked for before
    assert await here.get(A) == ([2], CacheUse(0, 1, 0.0))


async def test_a_log_that_was_taken_back_ends_every_copy(here):
    """And so do copies that nobody asks for any more: what happens is not heard then."""
    await here.get(A)
    here.feed._lose()
    assert await here.get(A) == ([1], CacheUse(0, 1, 0.0))
    assert await here.get(A) == ([1], CacheUse(1, 0, 0.0))


async def test_who_gives_up_leaves_the_log_to_the_others(here, monkeypatch):
    """The first read waits for the database; one that is given up ends at once, and the next one need not begin anew."""
    gate, asked, head = asyncio.Event(), [], here.log.head

    async def slow_head():
        asked.append(True)
        while not gate.is_set():  # as a database does that hears of no cancellation
            with suppress(asyncio.CancelledError):
                await gate.wait()
        return await head()

    monkeypatch.setattr(here.log, "head", slow_head)
    given_up = asyncio.create_task(here.get(A))
    waiting = asyncio.create_task(here.get(A))
    await until(lambda: asked)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    gate.set()
    assert await waiting == ([1], CacheUse(0, 1, 0.0))
    assert (await here.get(A), len(asked)) == (([1], CacheUse(1, 0, 0.0)), 1)


async def test_a_log_that_cannot_be_read_is_said_to_all(here, monkeypatch):
    """And the next read looks again."""
    head = here.log.head

    async def no_head():
        raise UnavailableError

    monkeypatch.setattr(here.log, "head", no_head)
    outcomes = await asyncio.gather(here.get(A), here.get(A), return_exceptions=True)
    assert [type(one) for one in outcomes] == [UnavailableError, UnavailableError]
    monkeypatch.setattr(here.log, "head", head)
    assert await here.get(A) == ([1], CacheUse(0, 1, 0.0))


async def test_copies_stay_within_their_bytes() -> None:
    """The one that was used longest ago goes first; one that is too large is not kept."""
    found = kept(max_bytes=2000)
    keys = [StateKey("default", "orders", str(number)) for number in range(3)]
    await found.store.write([write(key, 0) for key in keys])
    for key in (*keys, keys[1]):
        await found.get(key)
    await found.store.write([write(A, 0, b'"' + b"x" * 3000 + b'"')])
    assert (await found.get(keys[0]))[1] == CacheUse(1, 0, 0.0)
    await found.get(A)
    assert (await found.get(A))[1] == CacheUse(0, 1, 0.0)
    health = await found.cache.health()
    assert health.metrics["bytes"] <= 2000


class Play:
    """Steps of a game: reads, some of which take long, changes, and the news of them."""

    def __init__(self) -> None:
        self.here = kept()
        self.told: dict[StateKey, int] = {}
        self.slow: list[asyncio.Task[object]] = []

    async def write(self, key: StateKey) -> None:
        """Change an object, or make it."""
        present = self.here.store.objects.get(key)
        await self.here.store.write([write(key, present.version if present is not None and not present.is_deleted else 0)])

    async def delete(self, key: StateKey) -> None:
        """Delete an object."""
        present = self.here.store.objects.get(key)
        if present is not None and not present.is_deleted:
            await self.here.store.write([deletion(key, present.version)])

    async def tell(self, _key: StateKey) -> None:
        """Let what was written be heard."""
        self.here.tell()
        self.told = {key: state.version for key, state in self.here.store.objects.items()}

    async def read(self, key: StateKey) -> None:
        """Read at once; what was told is known."""
        if not self.here.gates:
            found, _ = await self.here.cache.many([key], self.here.read)
            assert (found[key].version if key in found else 0) >= self.told.get(key, 0)

    async def begin(self, key: StateKey) -> None:
        """Begin a read that takes long."""
        await self.here.get()  # it listens from now on
        self.here.gates.append(asyncio.Event())
        self.slow.append(asyncio.create_task(self.here.get(key)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def end(self, _key: StateKey) -> None:
        """End all of those."""
        for gate in self.here.gates:
            gate.set()
        self.here.gates.clear()
        await asyncio.gather(*self.slow)
        self.slow.clear()

    async def lose(self, _key: StateKey) -> None:
        """Take the log back."""
        self.here.feed._lose()


STEPS = st.sampled_from(["write", "delete", "tell", "read", "begin", "end", "lose"])


@settings(max_examples=150)
@given(st.lists(st.tuples(STEPS, st.sampled_from([A, B])), max_size=40))
def test_no_copy_is_older_than_what_was_told(steps: list[tuple[str, StateKey]]) -> None:
    """However reads, changes and the news of them follow each other."""

    async def play() -> None:
        game = Play()
        for step, key in steps:
            await getattr(game, step)(key)
        await game.end(A)

    asyncio.run(play())
