"""`one` hooks: each event, in order per subject, by one process, whatever fails."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest
from stylobate.database import DatabaseManager
from stylobate.errors import StylobateError, UnavailableError
from stylobate.health import Status
from stylobate.hooks import MAX_ATTEMPTS, HooksManager
from stylobate.hooks.lane import OvertakenError
from stylobate.outbox import Event, partition_of

Manager = Callable[..., HooksManager]


async def until(holds: Callable[[], object], seconds: float = 20) -> None:
    """Wait, with an end, for what tells nobody when it happens."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  what is waited for tells nobody
            await asyncio.sleep(0.005)


class Heard:
    """A hook that keeps what it was given."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def __call__(self, event: Event) -> None:
        """Keep the event."""
        self.events.append(event)

    def ids(self) -> list[str]:
        """Return the ids in the order in which they came."""
        return [event.id for event in self.events]

    def by_subject(self) -> dict[str, list[str]]:
        """Return the ids of each subject in the order in which they came."""
        found: dict[str, list[str]] = defaultdict(list)
        for event in self.events:
            found[event.subject].append(event.id)
        return found


async def settled(database: DatabaseManager, source: Any, hook: str = "h") -> None:
    """Wait until the stored positions of the hook have reached those of every event that the log has of its type."""
    query = "select partition, number from hook_position where hook = $1"
    last = "select partition, max(number) as number from outbox_event where type like 'state.orders.%' group by partition"
    async with asyncio.timeout(20):
        while True:
            stored = {row["partition"]: row["number"] for row in await database.fetch(query, hook)}
            written = {row["partition"]: row["number"] for row in await source.database.fetch(last)}
            if all(number is not None and stored.get(partition, 0) >= number for partition, number in written.items()):
                return
            await asyncio.sleep(0.01)


async def test_every_event_in_order(manager: Manager, start: Any, source: Any, database: DatabaseManager) -> None:
    """A hook gets every event of its types once, those of one subject in their order, and its position is kept."""
    heard, hooks = Heard(), manager()
    hooks.on("state.orders.*", heard, name="h")
    await start(hooks)
    await source.write("ignored", type="state.carts.changed")
    written = await source.write(*(f"s{number % 7}" for number in range(60)))
    await until(lambda: len(heard.events) == 60)
    expected: dict[str, list[str]] = defaultdict(list)
    for event in written:
        expected[event.subject].append(event.id)
    assert heard.by_subject() == expected
    await settled(database, source)
    assert len(heard.events) == 60
    assert {event.source for event in heard.events} == {"state"}


async def test_nothing_after_ready_is_missed(manager: Manager, start: Any, source: Any) -> None:
    """A new hook begins at the end of the log: what was there before is not its business, what comes after ready() is."""
    await source.write("before")
    await until(lambda: source.relay._is_leading)
    async with asyncio.timeout(10):
        while not sum((await source.log.head()).numbers):  # noqa: ASYNC110  the database tells nobody
            await asyncio.sleep(0.01)
    heard, hooks = Heard(), manager()
    hooks.on("state.orders.changed", heard, name="h")
    await start(hooks)
    (after,) = await source.write("after")
    await until(lambda: heard.events)
    assert heard.ids() == [after.id]


async def test_restart_goes_on_where_it_stopped(manager: Manager, start: Any, source: Any, database: DatabaseManager) -> None:
    """Events written while no process ran are dealt with by the next one; those dealt with are not repeated."""
    first, second = Heard(), Heard()
    hooks = manager()
    hooks.on("state.orders.changed", first, name="h")
    stop = await start(hooks)
    await source.write("s1", "s2")
    await settled(database, source)
    await stop()
    missed = await source.write("s1", "s3")
    hooks = manager()
    hooks.on("state.orders.changed", second, name="h")
    await start(hooks)
    await until(lambda: len(second.events) == 2)
    assert sorted(second.ids()) == sorted(event.id for event in missed)


async def test_tenants_reach_the_hook_as_they_are(manager: Manager, start: Any, source: Any) -> None:
    """Events of two tenants about the same subject come each with its own tenant."""
    heard, hooks = Heard(), manager()
    hooks.on("state.orders.changed", heard, name="h")
    await start(hooks)
    written = [(await source.write("s1", tenant=tenant))[0] for tenant in ("acme", "globex")]
    await until(lambda: len(heard.events) == 2)
    assert {event.tenant: event.id for event in heard.events} == {event.tenant: event.id for event in written}


async def test_failing_event_is_tried_again_then_a_dead_letter(
    manager: Manager, start: Any, source: Any, database: DatabaseManager
) -> None:
    """An event that keeps failing is tried eight times, then put aside with its error, and the subject goes on."""
    attempts, heard = Counter[str](), Heard()

    async def fails_on_bad(event: Event) -> None:
        attempts[event.id] += 1
        if event.subject == "bad" and event.value()["number"] == 0:
            raise KeyError("no such thing")
        await heard(event)

    hooks = manager()
    hooks.on("state.orders.changed", fails_on_bad, name="h")
    await start(hooks)
    bad, after = await source.write("bad", "bad")
    await until(lambda: heard.events)
    assert heard.ids() == [after.id]
    assert attempts == {bad.id: MAX_ATTEMPTS, after.id: 1}
    await settled(database, source)
    row = await database.fetchrow("select * from hook_dead_letter")
    assert row is not None
    assert (row["hook"], row["source"], row["tenant"], row["attempts"]) == ("h", "state", "default", MAX_ATTEMPTS)
    assert json.loads(row["event"])["id"] == bad.id
    assert row["error"] == "KeyError: 'no such thing'"


@pytest.mark.parametrize("is_remote", [False, True])
async def test_unavailable_target_is_waited_for(
    manager: Manager,
    start: Any,
    source: Any,
    database: DatabaseManager,
    is_remote: bool,
) -> None:
    """While the target is unavailable the partition waits, past any number of attempts; then it goes on, nothing lost."""
    calls, is_up, heard = 0, False, Heard()

    async def needs_target(event: Event) -> None:
        nonlocal calls
        calls += 1
        if is_up:
            return await heard(event)
        if is_remote:
            raise StylobateError.of(code=grpc.StatusCode.UNAVAILABLE, reason="ELSEWHERE", detail="down")
        raise UnavailableError

    hooks = manager()
    hooks.on("state.orders.changed", needs_target, name="h")
    await start(hooks)
    written = await source.write("s1", "s1")
    await until(lambda: calls > MAX_ATTEMPTS)
    assert heard.events == []
    is_up = True
    await until(lambda: len(heard.events) == 2)
    assert heard.ids() == [event.id for event in written]
    assert await database.fetchval("select count(*) from hook_dead_letter") == 0


async def test_stuck_subject_holds_up_its_partition_only(manager: Manager, start: Any, source: Any) -> None:
    """While one subject is stuck, with more behind it than its lane holds, every other partition goes on; then it catches up."""
    stuck_partition = partition_of("default", "stuck")
    others = [name for name in (f"s{number}" for number in range(40)) if partition_of("default", name) != stuck_partition]
    free, heard = asyncio.Event(), Heard()

    async def sticks(event: Event) -> None:
        if event.subject == "stuck":
            await free.wait()
        await heard(event)

    hooks = manager()
    hooks.on("state.orders.changed", sticks, name="h", timeout=timedelta(minutes=5))
    await start(hooks)
    stuck = await source.write(*(["stuck"] * 100))
    passing = await source.write(*others)
    await until(lambda: len(heard.events) == len(others))
    assert sorted(heard.ids()) == sorted(event.id for event in passing)
    assert (await hooks.health()).metrics["pending"] < 100  # not all that is stuck is held in memory
    free.set()
    more = await source.write("stuck")
    await until(lambda: len(heard.events) == len(others) + 101)
    assert heard.by_subject()["stuck"] == [event.id for event in (*stuck, *more)]


async def test_run_that_takes_too_long_has_failed(manager: Manager, start: Any, source: Any) -> None:
    """A run past its timeout counts as a failed attempt and is made again."""
    calls, heard = 0, Heard()

    async def hangs_once(event: Event) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await asyncio.Event().wait()
        await heard(event)

    hooks = manager()
    hooks.on("state.orders.changed", hangs_once, name="h", timeout=timedelta(milliseconds=50))
    await start(hooks)
    await source.write("s1")
    await until(lambda: heard.events)
    assert calls == 2


async def test_hook_that_cancels_itself_has_failed(manager: Manager, start: Any, source: Any) -> None:
    """A CancelledError that the hook raises by itself ends neither the hook nor its process: it is a failed attempt."""
    calls, heard = 0, Heard()

    async def cancels_once(event: Event) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise asyncio.CancelledError
        await heard(event)

    hooks = manager()
    hooks.on("state.orders.changed", cancels_once, name="h")
    await start(hooks)
    await source.write("s1")
    await until(lambda: heard.events)


async def test_two_processes_share_the_work_by_lease(
    manager: Manager, start: Any, source: Any, database_for: Any, database: DatabaseManager
) -> None:
    """Of two processes one handles the events; when it stops the other goes on, and none is lost or repeated."""
    first, second = Heard(), Heard()
    one, two = manager(), manager(await database_for("actions"))
    one.on("state.orders.changed", first, name="h")
    two.on("state.orders.changed", second, name="h")
    stop = await start(one)
    await start(two)
    before = await source.write(*(f"s{number}" for number in range(20)))
    await until(lambda: len(first.events) + len(second.events) == 20)
    await settled(database, source)
    assert not (first.events and second.events)
    leader, standby = (first, second) if first.events else (second, first)
    if leader is first:
        await stop()
        after = await source.write(*(f"s{number}" for number in range(20)))
        await until(lambda: len(standby.events) == 20)
        assert sorted(standby.ids()) == sorted(event.id for event in after)
    assert sorted(leader.ids()) == sorted(event.id for event in before)


async def test_source_that_restarts_is_read_on(manager: Manager, start: Any, source: Any) -> None:
    """While the source's service is away nothing comes; when it is back the hook reads on by itself."""
    heard, hooks = Heard(), manager()
    hooks.on("state.orders.changed", heard, name="h")
    await start(hooks)
    await source.write("s1")
    await until(lambda: len(heard.events) == 1)
    await source.server.stop()
    written = await source.write("s1", "s2")
    await source.server.start()
    await until(lambda: len(heard.events) == 3)
    assert sorted(heard.ids()[1:]) == sorted(event.id for event in written)


async def test_expired_events_are_put_on_record(manager: Manager, start: Any, source: Any, database: DatabaseManager) -> None:
    """A hook that was away longer than events are kept goes on behind the gap, and the gap stands in the dead letters."""
    heard, hooks = Heard(), manager()
    hooks.on("state.orders.changed", heard, name="h")
    stop = await start(hooks)
    await stop()
    await source.write("s1", "s1")
    async with asyncio.timeout(10):
        while sum((await source.log.head()).numbers) < 2:  # noqa: ASYNC110  the database tells nobody
            await asyncio.sleep(0.01)
    assert await source.log.prune(timedelta(0)) == 2
    hooks = manager()
    hooks.on("state.orders.changed", heard, name="h")
    await start(hooks)
    async with asyncio.timeout(20):
        while not await database.fetchval("select count(*) from hook_dead_letter"):  # noqa: ASYNC110  the same
            await asyncio.sleep(0.01)
    (kept,) = await source.write("s1")
    await until(lambda: kept.id in heard.ids())
    row = await database.fetchrow("select * from hook_dead_letter")
    assert row is not None
    assert (row["event"], row["partition"]) == (None, partition_of("default", "s1"))
    assert row["error"].startswith("POSITION_EXPIRED")


async def test_health_tells_what_is_missing(
    database: DatabaseManager, redis: Any, source: Any, manager: Manager, start: Any
) -> None:
    """Until a hook is registered with its log the manager is unhealthy and names the log; then healthy, with its lag."""
    hooks = manager()
    hooks.on("state.orders.changed", Heard(), name="h")
    await source.server.stop()
    task = asyncio.create_task(hooks.run())
    await until(lambda: hooks._durable is not None)
    health = await hooks.health()
    assert (health.status, health.details) == (Status.UNHEALTHY, "hooks wait for the events of state")
    await source.server.start()
    await asyncio.wait_for(hooks.ready(), 10)
    health = await hooks.health()
    assert health.status is Status.HEALTHY
    assert "lag_seconds" in health.metrics
    task.cancel()
    await asyncio.wait([task])


async def test_registration_mistakes(manager: Manager, redis: Any, start: Any) -> None:
    """A name taken twice, a durable hook without a database, and a hook after the start are refused at once."""
    hooks = manager()
    hooks.on("a.b", Heard(), name="h", delivery="each")
    with pytest.raises(ValueError, match="already"):
        hooks.on("a.b", Heard(), name="h")
    with pytest.raises(ValueError, match="needs a database"):
        HooksManager(redis).on("a.b", Heard(), name="h")
    await start(hooks)
    with pytest.raises(ValueError, match="before they run"):
        hooks.on("a.b", Heard(), name="other")


def test_overtaken_is_not_an_error_of_hooks() -> None:
    """The signal that another process leads never passes for a hook's own failure."""
    assert not issubclass(OvertakenError, StylobateError)
