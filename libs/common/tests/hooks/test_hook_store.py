"""What every hook store promises, held against all of them: positions, what stands aside, dead letters, fenced by token."""

from dataclasses import replace

import pytest
from stylobate.database import MigrationSet
from stylobate.hooks.mongodb import MongoHookStore
from stylobate.hooks.port import HookStore, Move, Place, Rebased
from stylobate.hooks.postgres import PostgresHookStore
from stylobate.outbox import Event, LoggedEvent, Position
from stylobate.testing.fixtures import DatabaseFor, MongoFor

from .memory_store import MemoryHookStore

HOOKS = MigrationSet.of("hooks", "stylobate.hooks")


@pytest.fixture
async def memory() -> HookStore:
    """Give the store in memory."""
    return await begun(MemoryHookStore())


@pytest.fixture
async def postgres(database_for: DatabaseFor) -> HookStore:
    """Give the one on PostgreSQL."""
    return await begun(PostgresHookStore(await database_for("actions", HOOKS)))


@pytest.fixture
async def mongodb(mongo_for: MongoFor) -> HookStore:
    """Give the one on MongoDB."""
    return await begun(MongoHookStore(await mongo_for("actions", HOOKS)))


async def begun(store: HookStore) -> HookStore:
    """Let the hooks a and b begin at 5 in each partition of `state`."""
    await store.add("state", ["a", "b"], Position.of([5] * 16))
    return store


@pytest.fixture(params=["memory", "postgres", "mongodb"])
def store(request: pytest.FixtureRequest) -> HookStore:
    """Give each kind of store in turn."""
    found: HookStore = request.getfixturevalue(request.param)
    return found


def place(token: int, hook: str = "a", partition: int = 3) -> Place:
    """Return a place in `state`."""
    return Place(hook, "state", partition, token)


async def test_first_registration_counts(store: HookStore) -> None:
    """A second process that registers a hook later does not move it; only what is new begins where it says."""
    assert await store.unknown("state", ["a", "b", "c"]) == ["c"]
    await store.add("state", ["b", "c"], Position.of([9] * 16))
    taken = await store.take("state", ["b", "c"], 1)
    assert taken["b"] == Position.of([5] * 16)
    assert taken["c"] == Position.of([9] * 16)
    assert await store.unknown("auth", ["a"]) == ["a"]


async def test_late_holder_moves_nothing(store: HookStore) -> None:
    """Once a newer token has taken over, moves and dead letters under the old one change nothing."""
    await store.take("state", ["a"], 1)
    assert await store.move([Move(place(1), 7)]) == [True]
    assert (await store.take("state", ["a"], 2))["a"].numbers[3] == 7
    letter = LoggedEvent(Event.new("a.b", "s", 1, source="state"), 3, 9)
    assert await store.move([Move(place(1), 8), Move(place(2), 7)]) == [False, True]
    assert not await store.bury(place(1), letter, 8, "late")
    assert await store.take("state", ["a"], 1) == {}
    assert (await store.take("state", ["a"], 2))["a"].numbers[3] == 7


async def test_position_never_goes_back(store: HookStore) -> None:
    """A move that is sent again, behind a later one, is acknowledged and changes nothing."""
    await store.take("state", ["a", "b"], 1)
    assert await store.move([Move(place(1), 8), Move(place(1, "b"), 6), Move(place(1, partition=4), 9)]) == [True] * 3
    assert await store.move([Move(place(1), 7)]) == [True]
    taken = await store.take("state", ["a", "b"], 1)
    assert (taken["a"].numbers[3:6], taken["b"].numbers[3]) == ((8, 9, 5), 6)


async def test_dead_letter_and_move_are_one(store: HookStore) -> None:
    """Burying an event moves the position behind it; doing it again after a lost answer leaves one letter."""
    await store.take("state", ["a"], 1)
    letter = LoggedEvent(Event.new("a.b", "s", 1, source="state", tenant="acme"), 3, 6)
    for _ in range(2):
        assert await store.bury(place(1), letter, 8, "why")
    assert (await store.take("state", ["a"], 1))["a"].numbers[3] == 6
    assert await dead(store) == {"a": 1, "b": 0}


async def dead(store: HookStore) -> dict[str, int]:
    """Return how many dead letters each hook has."""
    return {standing.hook: standing.dead for standing in await store.listing()}


def logged(number: int, subject: str = "s") -> LoggedEvent:
    """Return an event of partition 3."""
    return LoggedEvent(Event.new("a.b", subject, number, source="state", tenant="acme"), 3, number)


async def test_events_stand_aside_in_order(store: HookStore) -> None:
    """What stands aside moves the position, is given in its order, each once, and goes when it was dealt with or buried."""
    await store.take("state", ["a"], 1)
    assert await store.first_aside(place(1), "acme", "s") is None
    assert await store.subjects_aside("a", "state") == {}
    for event in (logged(6), logged(7, "other"), logged(8)):
        assert await store.put_aside(place(1), event)
        assert await store.put_aside(place(1), event)  # its answer was lost
    assert await store.subjects_aside("a", "state") == {3: {("acme", "s"): 2, ("acme", "other"): 1}}
    assert (await store.take("state", ["a"], 1))["a"].numbers[3] == 8
    first = await store.first_aside(place(1), "acme", "s")
    assert first is not None
    assert await store.failed_aside(place(1), first, 4, "why")
    again = await store.first_aside(place(1), "acme", "s")
    assert again is not None
    assert (again.logged.number, again.logged.event.value(), again.attempts) == (6, 6, 4)
    assert await store.bury_aside(place(1), again, 5, "why")
    second = await store.first_aside(place(1), "acme", "s")
    assert second is not None
    assert second.logged.number == 8
    assert await store.done_aside(place(1), second)
    assert await store.subjects_aside("a", "state") == {3: {("acme", "other"): 1}}
    assert await dead(store) == {"a": 1, "b": 0}


async def test_late_holder_changes_nothing_that_stands_aside(store: HookStore) -> None:
    """Once a newer token has taken over, what the old one says of events that stand aside changes nothing."""
    await store.take("state", ["a"], 1)
    await store.put_aside(place(1), logged(6))
    kept = await store.first_aside(place(1), "acme", "s")
    assert kept is not None
    await store.take("state", ["a"], 2)
    assert not await store.put_aside(place(1), logged(7))
    assert not await store.failed_aside(place(1), kept, 7, "late")
    assert not await store.bury_aside(place(1), kept, 7, "late")
    assert not await store.done_aside(place(1), kept)
    assert await store.first_aside(place(2), "acme", "s") is not None
    assert not await store.bury_gap(place(1), 9, "late", move_to=9)
    assert await dead(store) == {"a": 0, "b": 0}


async def test_a_gap_and_another_epoch_are_put_on_record(store: HookStore) -> None:
    """A gap moves the position and stands once; in another epoch all partitions go on together, and older places are void."""
    await store.take("state", ["a"], 1)
    for _ in range(2):
        assert await store.bury_gap(place(1), 7, "gone", move_to=7)
    places = [Rebased(partition, 2, 9, "taken back") if partition == 3 else Rebased(partition, 5) for partition in range(16)]
    assert not await store.rebase("a", "state", 2, "e", places)
    assert await store.rebase("a", "state", 1, "e", places)
    taken = await store.take("state", ["a"], 1)
    assert taken["a"] == Position.of([5, 5, 5, 2, *[5] * 12], "e")
    assert await store.move([Move(place(1), 8)]) == [False]
    assert await dead(store) == {"a": 2, "b": 0}


async def test_a_rewound_hook_is_nobodys(store: HookStore) -> None:
    """A hook that is rewound stands where it was told; whoever ran it holds it no more. One that is not there is told."""
    await store.take("state", ["a"], 1)
    assert await store.holds("a", "state", 1)
    assert not await store.rewind("none", "state", Position.origin())
    assert await store.rewind("a", "state", Position.of([1] * 16, "e"))
    assert not await store.holds("a", "state", 1)
    (standing, other) = await store.listing()
    assert (standing.hook, standing.source, standing.position, standing.aside) == ("a", "state", Position.of([1] * 16, "e"), 0)
    assert other.position == Position.of([5] * 16)


async def test_a_dead_letter_is_read_run_again_or_forgotten(store: HookStore) -> None:
    """Run again it stands aside, behind what does already, its failures forgotten, and whoever runs the hook begins anew."""
    await store.take("state", ["a"], 1)
    assert await store.bury(place(1), logged(6), 8, "broken")
    assert await store.put_aside(place(1), logged(7))
    assert await store.bury_gap(place(1), 9, "gone", move_to=9)
    gap, letter = await store.dead_letters()
    assert (letter.hook, letter.source, letter.partition, letter.number, letter.attempts, letter.error) == (
        *("a", "state", 3, 6, 8, "broken"),
    )
    assert (letter.event, gap.event, gap.number) == (logged_event(letter.event, 6), None, 9)
    assert await store.dead_letters(hook="b") == []
    assert await store.dead_letters(ids=[letter.id]) == await store.dead_letters(hook="a", most=2, ids=[letter.id]) == [letter]
    assert await store.dead_letters(most=1) == [gap]

    assert await store.redrive([letter.id, gap.id, 999]) == [letter.id]
    assert not await store.holds("a", "state", 1)
    assert await store.redrive([letter.id]) == []
    assert await store.subjects_aside("a", "state") == {3: {("acme", "s"): 2}}
    await store.take("state", ["a"], 2)
    first = await store.first_aside(place(2), "acme", "s")
    assert first is not None
    assert first.logged.number == 7
    assert await store.done_aside(place(2), first)
    second = await store.first_aside(place(2), "acme", "s")
    assert second is not None
    assert (second.logged.number, second.logged.event, second.attempts) == (6, letter.event, 0)
    assert await store.bury_aside(place(2), second, 8, "broken again")

    assert [found.error for found in await store.dead_letters()] == ["broken again", "gone"]
    assert await store.drop([gap.id, 999]) == [gap.id]
    assert await dead(store) == {"a": 1, "b": 0}


def logged_event(found: Event | None, number: int) -> Event:
    """Return the event of that number with the id and the time of the one found."""
    assert found is not None
    return replace(logged(number).event, id=found.id, time=found.time)
