"""Where projections stand, over every adapter: each event is applied once, and a generation ends when the next begins."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio
from stylobate.declarations.model import IndexField
from stylobate.ids import new_id
from stylobate.testing import FakeClock
from stylobate_state.errors import StateDataInvalidError
from stylobate_state.index import Index
from stylobate_state.model import Change, StateKey, StateRecord, Write
from stylobate_state.projection.errors import ProjectionRebuiltError
from stylobate_state.projection.model import Applied, Outcome, View
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.memory_projections import MemoryProjectionStore
from stylobate_state.store.port import StateStore
from stylobate_state.store.projections import ProjectionStore

from .conftest import OpenKept


@dataclass
class Stores:
    """A store of projections and the one of their objects."""

    projections: ProjectionStore
    states: StateStore

    async def at(self, key: str) -> StateRecord | None:
        """Return what stands at a key."""
        return (await self.states.read([place(key)])).get(place(key))

    async def apply(self, first: int, last: int, *writes: Write, generation: int = 1, partition: int = 3) -> Outcome:
        """Apply events of one partition."""
        return await self.apply_all({partition: (first, last)}, *writes, generation=generation)

    async def apply_all(self, ranges: dict[int, tuple[int, int]], *writes: Write, generation: int = 1) -> Outcome:
        """Apply events."""
        return await self.projections.apply(Applied("sums", generation, "default", ranges), writes)


def place(key: str) -> StateKey:
    """Name an object of the projection."""
    return StateKey("default", "sums", key)


def done(number: int, partition: int = 3) -> Outcome:
    """Return that it happened."""
    return Outcome({partition: number}, is_applied=True)


def made(key: str, data: bytes = b'{"n": 1}', *, seen: int = 0, group: int = 0) -> Write:
    """Make an object, or another of what was seen."""
    change = Change.UPDATED if seen else Change.CREATED
    return Write(place(key), change, seen, "", None if seen else "", data, "service:actions", new_id(), group=group)


def deletion(key: StateKey, *, owner: str, version: int) -> Write:
    """Delete what was seen."""
    return Write(key, Change.DELETED, version, owner, None, b"null", "service:actions", new_id())


@pytest.fixture
def open_stores(open_kept_or_none: OpenKept | None) -> Callable[[], Awaitable[Stores]]:
    """Give each adapter in turn."""

    async def opened() -> Stores:
        if open_kept_or_none is None:
            memory = MemoryStateStore(FakeClock())
            return Stores(MemoryProjectionStore(memory, FakeClock()), memory)
        one = await open_kept_or_none()
        return Stores(one.projections, one.store)

    return opened


@pytest_asyncio.fixture
async def stores(open_stores: Callable[[], Awaitable[Stores]]) -> Stores:
    """Give one of each."""
    return await open_stores()


async def test_one_that_is_not_known_begins(stores):
    """It keeps its place; all are listed by name."""
    begun = await stores.projections.open("sums")
    assert (begun.generation, begun.position, begun.is_rebuilding, begun.error) == (1, "", False, "")
    await stores.projections.move("sums", 1, "here", "stands")
    assert replace(begun, position="here", error="stands") == await stores.projections.open("sums")
    await stores.projections.move("sums", 1, None, "")
    await stores.projections.open("counts")
    assert [(one.name, one.position) for one in await stores.projections.standings()] == [("counts", ""), ("sums", "here")]


async def test_events_are_applied_once(stores):
    """Whoever comes with them again, or with some of them and later ones, hears how far it is; nothing changes."""
    await stores.projections.open("sums")
    assert await stores.apply(4, 6, made("a")) == done(6)
    for first, last in ((4, 6), (5, 9), (1, 2), (6, 6)):
        assert await stores.apply(first, last, made("b")) == Outcome({3: 6}, is_applied=False)
    assert await stores.at("b") is None
    assert await stores.apply(9, 9, made("a", b'{"n": 2}', seen=1)) == done(9)
    assert await stores.apply(1, 1, made("b"), partition=4) == done(1, 4)
    found = await stores.at("a")
    assert (found.version, found.data.replace(b" ", b"")) == (2, b'{"n":2}')


async def test_all_or_nothing(stores):
    """An object that is another than was read, and data that cannot be kept: nothing is written, and the events come again."""
    await stores.projections.open("sums")
    await stores.apply(1, 1, made("a"))
    assert await stores.apply(2, 3, made("b", group=1), made("a", group=1)) == Outcome({3: 1}, is_applied=False)
    with pytest.raises(StateDataInvalidError):
        await stores.apply(2, 3, made("b", group=1), made("a", b"{", seen=1, group=1))
    assert await stores.at("b") is None
    assert await stores.apply(2, 3, made("b", group=1), made("a", b"{}", seen=1, group=1)) == done(3)
    assert (await stores.at("a")).version == 2


async def test_what_an_index_cannot_hold_is_refused(stores):
    """It would be refused at every try, and is said to whoever made it."""
    await stores.states.declare([Index("sums", (IndexField("name", "text"),))])
    await stores.projections.open("sums")
    long = b'{"name": "' + b"x" * 2000 + b'"}'
    with pytest.raises(StateDataInvalidError, match="index"):
        await stores.apply(1, 1, made("a", long))
    assert await stores.at("a") is None
    assert await stores.apply(1, 1, made("a")) == done(1)


async def test_events_of_several_partitions(stores):
    """They go together: where one partition is further than was thought, none of them counts."""
    await stores.projections.open("sums")
    await stores.apply(1, 3, made("a"), partition=2)
    mixed = await stores.apply_all({1: (1, 2), 2: (3, 4)}, made("b"))
    assert mixed == Outcome({1: 0, 2: 3}, is_applied=False)
    assert await stores.at("b") is None
    assert await stores.apply_all({2: (4, 9), 1: (1, 2)}, made("b")) == Outcome({1: 2, 2: 9}, is_applied=True)
    assert await stores.projections.progress("sums", 1, "default") == {1: 2, 2: 9}
    assert await stores.projections.progress("sums", 1, "other") == {}


async def test_two_at_once_apply_once(stores):
    """Two processes that both believe to lead."""
    await stores.projections.open("sums")
    outcomes = await asyncio.gather(*(stores.apply(1, 5, made(key)) for key in "abcdefgh"))
    assert {outcome.numbers[3] for outcome in outcomes} == {5}
    assert [outcome.is_applied for outcome in outcomes].count(True) == 1
    assert len([key for key in "abcdefgh" if await stores.at(key) is not None]) == 1


async def test_a_generation_ends_when_the_next_begins(stores):
    """What comes late for it changes nothing, whatever it is."""
    assert await stores.projections.rebuild("sums") is None
    await stores.projections.open("sums")
    await stores.apply(1, 7, made("a"))
    begun = await stores.projections.rebuild("sums")
    assert (begun.generation, begun.position, begun.is_rebuilding) == (2, "", True)
    late: Sequence[Callable[[], Awaitable[object]]] = (
        lambda: stores.apply(8, 8, made("b")),
        lambda: stores.projections.move("sums", 1, "late", ""),
        lambda: stores.projections.read("sums", 1, "default", ["a"]),
        lambda: stores.projections.progress("sums", 1, "default"),
        lambda: stores.projections.sweep("sums", 1, 10, deletion),
    )
    for attempt in late:
        with pytest.raises(ProjectionRebuiltError):
            await attempt()
    assert await stores.at("b") is None
    assert (await stores.projections.open("sums")).position == ""


async def test_rebuilding(stores):
    """What was made before is stale until it is made again; what is not made again is swept."""
    await stores.projections.open("sums")
    for number, key in enumerate("abcde", 1):
        await stores.apply(number, number, made(key))
    await stores.projections.rebuild("sums")
    found = await stores.projections.read("sums", 2, "default", ["a", "b", "x"])
    assert found == {key: View(key, 1, None, "") for key in "ab"}
    assert await stores.projections.read("sums", 2, "other", ["a"]) == {}
    assert await stores.apply(1, 1, made("a", b'{"n": 9}', seen=1), generation=2) == done(1)
    found = await stores.projections.read("sums", 2, "default", ["b", "a"])
    assert {key: (view.version, view.data) for key, view in found.items()} == {"a": (2, b'{"n": 9}'), "b": (1, None)}
    swept = []
    while count := await stores.projections.sweep("sums", 2, 3, deletion):
        swept.append(count)
    assert swept == [3, 1]
    standing = {key: await stores.at(key) for key in "abcde"}
    assert [key for key, state in standing.items() if not state.is_deleted] == ["a"]
    assert (await stores.projections.open("sums")).is_rebuilding is False
    assert await stores.apply(2, 2, made("b"), generation=2) == done(2)
    assert (await stores.at("b")).version == 3
