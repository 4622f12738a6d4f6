"""Timers: set by the change that enters a status, ended by the one that leaves it, fired once."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from bson import Int64
from stylobate.database.mongodb import micros
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.declarations.model import AccessRule, BeforeHook, TimerDeclaration, TransitionDeclaration
from stylobate.errors import UnavailableError
from stylobate.ids import new_id
from stylobate.testing import FakeClock
from stylobate_state.model import Change, StateKey, TimerStart
from stylobate_state.operation import Delete, Patch, Put, Transition
from stylobate_state.state_manager import StateManager
from stylobate_state.state_writer import Environment
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.memory_timers import MemoryTimerStore
from stylobate_state.store.mongodb import MongoTimerStore
from stylobate_state.store.port import StateStore
from stylobate_state.store.postgres_timers import PostgresTimerStore
from stylobate_state.store.timers import TimerStore
from stylobate_state.timer_runner import TimerRunner

from .conftest import Grants, Hooks, OpenKept, _agree
from .samples import ADA, NOTES, ORDERS, deletion, write

NOW, HOUR = timedelta(), timedelta(hours=1)
AT = StateKey("default", "orders", "1")
SOON, LATER = TimerStart("cancel", NOW), TimerStart("cancel", HOUR)


@dataclass
class Stores:
    """A store with its queue of timers, and how to get another pair on the same data."""

    state: StateStore
    timers: TimerStore
    another: Callable[[], Awaitable["Stores"]]


OpenStores = Callable[[], Awaitable[Stores]]


@pytest.fixture
def open_stores(open_kept_or_none: OpenKept | None) -> OpenStores:
    """Give each adapter in turn."""
    if open_kept_or_none is None:
        memory = MemoryStateStore(FakeClock())
        timers = MemoryTimerStore(memory)

        async def the_same() -> Stores:
            return Stores(memory, timers, the_same)

        return the_same

    async def another() -> Stores:
        one = await open_kept_or_none()
        return Stores(one.store, one.timers, another)

    return another


@pytest_asyncio.fixture
async def stores(open_stores: OpenStores) -> Stores:
    """Give one pair of each adapter in turn."""
    return await open_stores()


async def enter(stores: Stores, key: StateKey, *timers: TimerStart, status: str = "pending") -> None:
    """Create an object in a status with timers."""
    await stores.state.write([write(key, 0, status=status, timers=timers)])


async def shown(stores: Stores, key: StateKey = AT) -> list[tuple[str, int, bool]]:
    """Return the timers that an object shows: event, version that set it, whether it is still to come."""
    (state,) = (await stores.state.read([key])).values()
    return [(timer.event, timer.since, timer.at is not None) for timer in state.timers]


async def queued(stores: Stores) -> list[tuple[str, str, int]]:
    """Return what is due, in order."""
    return [(timer.key.key, timer.event, timer.since) for timer in (await stores.timers.due(100)).timers]


async def test_a_status_sets_its_timers_and_leaving_it_ends_them(stores: Stores) -> None:
    """Entered: shown and queued with the version; rewritten: as they were; left: gone; entered anew: counted anew."""
    await enter(stores, AT, SOON, TimerStart("remind", HOUR))
    assert await shown(stores) == [("cancel", 1, True), ("remind", 1, True)]
    assert await queued(stores) == [("1", "cancel", 1)]
    await stores.state.write([write(AT, 1, b'{"a": 1}')])
    assert await shown(stores) == [("cancel", 1, True), ("remind", 1, True)]
    moved: dict[str, Any] = {"change": Change.TRANSITIONED, "event": "pay", "from_status": "pending"}
    await stores.state.write([write(AT, 2, status="pending", timers=(SOON,), **moved)])
    assert await shown(stores) == [("cancel", 3, True)]
    assert await queued(stores) == [("1", "cancel", 3)]
    await stores.state.write([write(AT, 3, status="paid", **moved)])
    assert (await shown(stores), await queued(stores)) == ([], [])
    await stores.state.write([write(AT, 4, status="pending", timers=(SOON,), **moved)])
    await stores.state.write([deletion(AT, 5)])
    assert (await shown(stores), await queued(stores)) == ([], [])
    await stores.state.write([write(AT, 0, status="pending", timers=(SOON,))])
    assert await queued(stores) == [("1", "cancel", 7)]


async def test_a_write_that_is_refused_sets_and_ends_nothing(stores: Stores) -> None:
    """The timers belong to the change: without it they stay as they were."""
    await enter(stores, AT, SOON)
    await stores.state.write([write(AT, 0, timers=(LATER,)), write(AT._replace(key="2"), 7)])
    await stores.state.write([deletion(AT, 9)])
    assert (await shown(stores), await queued(stores)) == ([("cancel", 1, True)], [("1", "cancel", 1)])


async def test_what_is_due_comes_oldest_first_and_the_next_is_told(stores: Stores) -> None:
    """Bounded, in the order of their times; without any that is due the time until the next."""
    assert (await stores.timers.due(2)).next_in is None
    for index in range(3):
        await enter(stores, AT._replace(key=str(index)), TimerStart("cancel", timedelta(seconds=-index)))
    await enter(stores, AT._replace(key="later"), LATER)
    assert [timer.key.key for timer in (await stores.timers.due(2)).timers] == ["2", "1"]
    everything = (await stores.timers.due(100)).timers
    assert [timer.key.key for timer in everything] == ["2", "1", "0"]
    assert everything[0].late >= timedelta(seconds=2)
    await stores.timers.spend(everything)
    due = await stores.timers.due(100)
    assert not due.timers
    assert due.next_in is not None
    assert HOUR - timedelta(minutes=1) < due.next_in <= HOUR


async def test_one_that_is_put_off_is_due_later_and_one_that_is_spent_never(stores: Stores) -> None:
    """Put off, the object shows what it showed; spent, it shows nothing, and its other timers stay."""
    await enter(stores, AT, SOON, TimerStart("remind", NOW))
    due = (await stores.timers.due(10)).timers
    await stores.timers.put_off([timer for timer in due if timer.event == "cancel"], timedelta())
    (cancel,) = [timer for timer in (await stores.timers.due(10)).timers if timer.event == "cancel"]
    assert cancel.tries == 1
    await stores.timers.put_off([cancel], HOUR)
    assert await queued(stores) == [("1", "remind", 1)]
    assert await shown(stores) == [("cancel", 1, True), ("remind", 1, True)]
    await stores.timers.spend([timer for timer in due if timer.event == "remind"])
    assert await queued(stores) == []
    assert await shown(stores) == [("cancel", 1, True), ("remind", 1, False)]


async def test_a_timer_declared_later_is_given_to_those_that_wait_already(stores: Stores) -> None:
    """Each that stands in the status gets it once, from now on; step by step, by whichever process; spent ones not again."""
    for index in range(5):
        await enter(stores, AT._replace(key=str(index)))
    await enter(stores, AT._replace(key="paid"), status="paid")
    await enter(stores, AT._replace(namespace="other"))
    await enter(stores, AT._replace(key="has"), SOON)
    await stores.timers.spend((await stores.timers.due(10)).timers)
    given, other = 0, await stores.another()
    for turn in range(20):
        filled = await (stores, other)[turn % 2].timers.fill("orders", "pending", SOON, 2)
        given += filled.count
        if filled.is_done:
            break
    assert (given, filled.is_done) == (5, True)
    assert sorted(await queued(stores)) == [(str(index), "cancel", 1) for index in range(5)]
    assert await shown(stores, AT._replace(key="paid")) == []
    assert await shown(stores, AT._replace(key="has")) == [("cancel", 1, False)]
    await enter(stores, AT._replace(key="new"))
    assert (await stores.timers.fill("orders", "pending", SOON, 100)).count == 0
    await stores.timers.forget_fills("orders", [("pending", "cancel")])
    assert (await stores.timers.fill("orders", "pending", SOON, 100)).count == 0
    await stores.timers.forget_fills("orders", [])
    assert (await stores.timers.fill("orders", "pending", SOON, 100)).count == 1


# What fires them.

TIMED = replace(
    ORDERS,
    access=NOTES.access,
    schema=None,
    transitions={
        "cancel": TransitionDeclaration("cancel", ("pending",), "cancelled", AccessRule(), guard="!has(data.keep)"),
        "pay": TransitionDeclaration("pay", ("pending",), "paid"),
        "again": TransitionDeclaration("again", ("paid",), "pending"),
    },
    timers=(TimerDeclaration("pending", timedelta(milliseconds=1), "cancel"),),
)


@dataclass
class Process:
    """A process of the service: its manager, what fires its timers, its hooks."""

    manager: StateManager
    runner: TimerRunner
    hooks: Hooks
    stores: Stores


Open = Callable[..., Awaitable[Process]]


@pytest_asyncio.fixture
async def process(stores: Stores) -> AsyncIterator[Open]:
    """Open processes on the same data."""
    async with AsyncExitStack() as stack:

        async def open_it(declaration: Any = TIMED) -> Process:
            mine, hooks = await stores.another(), Hooks(_agree)
            environment = Environment(
                mine.state, AccessEvaluator(Grants()), hooks, committed=lambda _namespace: None, clock=FakeClock(), new_id=new_id
            )
            declared = {declaration.name: declaration}
            manager = await stack.enter_async_context(StateManager.open(declared, environment, max_data_bytes=10_000))
            return Process(manager, TimerRunner(mine.timers, manager.namespaces, manager), hooks, mine)

        yield open_it


async def pass_time(stores: Stores) -> None:
    """Let the time of every timer come."""
    if isinstance(stores.state, MemoryStateStore):
        stores.state.clock.advance(HOUR)  # type: ignore[attr-defined]  a FakeClock here
    elif isinstance(stores.timers, PostgresTimerStore):
        await stores.timers._database.execute("update state_timer set due_at = statement_timestamp()")
    else:
        assert isinstance(stores.timers, MongoTimerStore)
        await stores.timers._database.update_many("state_timer", {}, {"$set": {"due_at": Int64(micros(datetime.now(UTC)))}})


async def history(process: Process, key: str = "1") -> list[tuple[str, str, str]]:
    """Return the events of an object, the oldest first: event, actor, status."""
    entries = (await process.manager.list_history(ADA, "orders", key)).items
    return [(entry.event, entry.actor, entry.to_status) for entry in reversed(entries)]


async def place(process: Process, key: str = "1", **data: Any) -> None:
    """Have an object of Ada's."""
    await process.manager.change(ADA, "orders", key, Put(json.dumps(data).encode()), expected=0)


async def test_what_is_due_is_fired_once_by_however_many_processes(process: Open, stores: Stores) -> None:
    """Three processes at once on fifty objects: each is cancelled once, in its owner's name, though nobody may cancel."""
    processes = [await process() for _ in range(3)]
    first = processes[0]
    await asyncio.gather(*(place(first, str(index)) for index in range(50)))
    await pass_time(stores)
    await asyncio.gather(*(each.runner.fire_due() for each in processes for _ in range(2)))
    for index in range(50):
        assert await history(first, str(index)) == [("", "ada", "pending"), ("cancel", "ada", "cancelled")]
    assert (await stores.timers.due(100)).timers == []


async def test_an_object_that_moved_on_is_left_alone(process: Open, stores: Stores) -> None:
    """Paid, deleted, or entered anew before the time: nothing of the old timer happens; rewritten: it does."""
    one = await process()
    for key in ("paid", "gone", "anew", "rewritten"):
        await place(one, key)
    await one.manager.change(ADA, "orders", "paid", Transition("pay"), expected=None)
    await one.manager.change(ADA, "orders", "gone", Delete(), expected=None)
    await one.manager.change(ADA, "orders", "rewritten", Patch(b'{"a": 1}'), expected=None)
    await pass_time(stores)
    stale = (await stores.timers.due(10)).timers
    for event in ("pay", "again"):
        await one.manager.change(ADA, "orders", "anew", Transition(event), expected=None)
    (old,) = [timer for timer in stale if timer.key.key == "anew"]
    assert isinstance(await one.runner._fire(old), Exception)
    await one.runner.fire_due()
    assert [entry[2] for entry in await history(one, "paid")] == ["pending", "paid"]
    assert len(await history(one, "gone")) == 2
    assert "cancelled" not in [entry[2] for entry in await history(one, "anew")][:3]
    assert (await history(one, "rewritten"))[-1] == ("cancel", "ada", "cancelled")


async def test_a_guard_holds_for_a_timer_and_spends_it(process: Open, stores: Stores) -> None:
    """Refused once, it is not tried again, and the object shows no timer any more."""
    one = await process()
    await place(one, keep=True)
    await pass_time(stores)
    await one.runner.fire_due()
    await pass_time(stores)
    await one.runner.fire_due()
    assert await history(one) == [("", "ada", "pending")]
    assert await shown(stores) == [("cancel", 1, False)]


async def test_a_timer_waits_for_what_does_not_answer(process: Open, stores: Stores) -> None:
    """A before-hook that is away puts it off; when the hook is back it is fired, and others did not wait for it."""
    one = await process(replace(TIMED, before={"cancel": BeforeHook("shop", "look")}))

    async def away(_hook: Any, _event: Any) -> bytes:
        raise UnavailableError

    one.hooks.answer = away
    await place(one)
    await pass_time(stores)
    await one.runner.fire_due()
    assert await history(one) == [("", "ada", "pending")]
    assert await queued(stores) == []
    assert await shown(stores) == [("cancel", 1, True)]
    one.hooks.answer = _agree
    await pass_time(stores)
    await one.runner.fire_due()
    assert (await history(one))[-1] == ("cancel", "ada", "cancelled")


async def test_a_timer_that_is_declared_no_more_is_dropped_when_it_is_due(process: Open, stores: Stores) -> None:
    """What waits keeps the time it was given: a new duration is for who enters later, no timer fires that nobody declares."""
    one = await process()
    for key in ("1", "2"):
        await place(one, key)
    without, elsewhere = await process(replace(TIMED, timers=())), await process(replace(TIMED, name="others"))
    longer = await process(replace(TIMED, timers=(TimerDeclaration("pending", timedelta(days=9), "cancel"),)))
    await pass_time(stores)
    await elsewhere.runner.fire_due()
    assert (await stores.timers.due(10)).timers == []  # its module is not there: it waits a minute
    await pass_time(stores)
    (first, second) = (await stores.timers.due(10)).timers
    await stores.timers.put_off([second], HOUR)
    await without.runner.fire_due()
    await pass_time(stores)
    await longer.runner.fire_due()
    assert await history(one, first.key.key) == [("", "ada", "pending")]
    assert (await history(one, second.key.key))[-1] == ("cancel", "ada", "cancelled")


async def test_timers_declared_later_are_filled_in(process: Open, stores: Stores) -> None:
    """Objects from before get the timer, with the declared time from now on; they are fired like all others."""
    before = await process(replace(TIMED, timers=()))
    await place(before)
    await pass_time(stores)
    now = await process()
    await now.runner.fill()
    await now.runner.fill()
    assert await shown(stores) == [("cancel", 1, True)]
    await pass_time(stores)
    await now.runner.fire_due()
    assert (await history(now))[-1] == ("cancel", "ada", "cancelled")
