"""Positions and dead letters: fenced by the token of the lease."""

import pytest
from stylobate.database import DatabaseManager, MigrationSet
from stylobate.hooks.position_store import Move, Place, PositionStore, Progress
from stylobate.outbox import Event, LoggedEvent, Position
from stylobate.testing.fixtures import DatabaseFor


@pytest.fixture
async def database(database_for: DatabaseFor) -> DatabaseManager:
    """Give a database with the tables of hooks."""
    return await database_for("actions", MigrationSet.of("hooks", "stylobate.hooks"))


@pytest.fixture
async def store(database: DatabaseManager) -> PositionStore:
    """Give a store where the hooks a and b begin at 5 in each partition of `state`."""
    store = PositionStore(database)
    await store.add("state", ["a", "b"], Position.of([5] * 16))
    return store


def place(token: int, hook: str = "a", partition: int = 3) -> Place:
    """Return a place in `state`."""
    return Place(hook, "state", partition, token)


async def test_first_registration_counts(store: PositionStore) -> None:
    """A second process that registers a hook later does not move it; only what is new begins where it says."""
    assert await store.unknown("state", ["a", "b", "c"]) == ["c"]
    await store.add("state", ["b", "c"], Position.of([9] * 16))
    taken = await store.take("state", ["b", "c"], 1)
    assert taken["b"] == dict.fromkeys(range(16), Progress(5))
    assert taken["c"] == dict.fromkeys(range(16), Progress(9))
    assert await store.unknown("auth", ["a"]) == ["a"]


async def test_late_holder_moves_nothing(store: PositionStore) -> None:
    """Once a newer token has taken over, moves and dead letters under the old one change nothing."""
    await store.take("state", ["a"], 1)
    assert await store.move([Move(place(1), 7)]) == [True]
    assert (await store.take("state", ["a"], 2))["a"][3] == Progress(7)
    letter = LoggedEvent(Event.new("a.b", "s", 1, source="state"), 3, 9)
    assert await store.move([Move(place(1), 8), Move(place(2), 7)]) == [False, True]
    assert not await store.bury(place(1), letter, 8, "late")
    assert await store.take("state", ["a"], 1) == {}
    assert (await store.take("state", ["a"], 2))["a"][3] == Progress(7)


async def test_position_never_goes_back(store: PositionStore) -> None:
    """A move that is sent again, behind a later one, is acknowledged and changes nothing."""
    await store.take("state", ["a", "b"], 1)
    assert await store.move([Move(place(1), 8), Move(place(1, "b"), 6), Move(place(1, partition=4), 9)]) == [True] * 3
    assert await store.move([Move(place(1), 7)]) == [True]
    taken = await store.take("state", ["a", "b"], 1)
    assert (taken["a"][3].number, taken["b"][3].number, taken["a"][4].number, taken["a"][5].number) == (8, 6, 9, 5)


async def test_dead_letter_and_move_are_one(store: PositionStore, database: DatabaseManager) -> None:
    """Burying an event moves the position behind it; doing it again after a lost answer leaves one letter."""
    await store.take("state", ["a"], 1)
    letter = LoggedEvent(Event.new("a.b", "s", 1, source="state", tenant="acme"), 3, 6)
    for _ in range(2):
        assert await store.bury(place(1), letter, 8, "why")
    assert (await store.take("state", ["a"], 1))["a"][3] == Progress(6)
    rows = await database.fetch("select tenant, number, attempts, error from hook_dead_letter")
    assert [tuple(row) for row in rows] == [("acme", 6, 8, "why")]
