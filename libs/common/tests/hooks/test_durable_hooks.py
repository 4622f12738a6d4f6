"""`one` hooks: each event, in order per subject, by one process, wherever it stopped."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from stylobate.database import DatabaseManager
from stylobate.health import Status
from stylobate.hooks import HooksManager
from stylobate.outbox import partition_of
from stylobate.testing.until import until

Manager = Callable[..., HooksManager]


async def test_every_event_in_order(
    manager: Manager, start: Any, source: Any, database: DatabaseManager, listener: Any, settled: Any
) -> None:
    """A hook gets every event of its types once, those of one subject in their order, and its position is kept."""
    heard, hooks = listener(), manager()
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


async def test_nothing_after_ready_is_missed(manager: Manager, start: Any, source: Any, listener: Any) -> None:
    """A new hook begins at the end of the log: what was there before is not its business, what comes after ready() is."""
    await source.write("before")
    await until(lambda: source.relay._is_leading)
    await until(source.log.head, lambda found: sum(found.numbers), within_s=60)
    heard, hooks = listener(), manager()
    hooks.on("state.orders.changed", heard, name="h")
    await start(hooks)
    (after,) = await source.write("after")
    await until(lambda: heard.events)
    assert heard.ids() == [after.id]


async def test_restart_goes_on_where_it_stopped(
    manager: Manager, start: Any, source: Any, database: DatabaseManager, listener: Any, settled: Any
) -> None:
    """Events written while no process ran are dealt with by the next one; those dealt with are not repeated."""
    first, second = listener(), listener()
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


async def test_tenants_reach_the_hook_as_they_are(manager: Manager, start: Any, source: Any, listener: Any) -> None:
    """Events of two tenants about the same subject come each with its own tenant."""
    heard, hooks = listener(), manager()
    hooks.on("state.orders.changed", heard, name="h")
    await start(hooks)
    written = [(await source.write("s1", tenant=tenant))[0] for tenant in ("acme", "globex")]
    await until(lambda: len(heard.events) == 2)
    assert {event.tenant: event.id for event in heard.events} == {event.tenant: event.id for event in written}


async def test_two_processes_share_the_work_by_lease(
    manager: Manager,
    start: Any,
    source: Any,
    database_for: Any,
    database: DatabaseManager,
    listener: Any,
    settled: Any,
) -> None:
    """Of two processes one handles the events; when it stops the other goes on, and none is lost or repeated."""
    first, second = listener(), listener()
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


async def test_source_that_restarts_is_read_on(manager: Manager, start: Any, source: Any, listener: Any) -> None:
    """While the source's service is away nothing comes; when it is back the hook reads on by itself."""
    heard, hooks = listener(), manager()
    hooks.on("state.orders.changed", heard, name="h")
    await start(hooks)
    await source.write("s1")
    await until(lambda: len(heard.events) == 1)
    await source.server.stop()
    written = await source.write("s1", "s2")
    await source.server.start()
    await until(lambda: len(heard.events) == 3)
    assert sorted(heard.ids()[1:]) == sorted(event.id for event in written)


async def test_expired_events_are_put_on_record(
    manager: Manager, start: Any, source: Any, database: DatabaseManager, listener: Any
) -> None:
    """A hook that was away longer than events are kept goes on behind the gap, and the gap stands in the dead letters."""
    heard, hooks = listener(), manager()
    hooks.on("state.orders.changed", heard, name="h")
    stop = await start(hooks)
    await stop()
    await source.write("s1", "s1")
    await until(source.log.head, lambda found: sum(found.numbers) >= 2, within_s=60)
    assert await source.log.prune(timedelta(0)) == 2
    hooks = manager()
    hooks.on("state.orders.changed", heard, name="h")
    await start(hooks)
    await until(lambda: database.fetchval("select count(*) from hook_dead_letter"), within_s=60)
    (kept,) = await source.write("s1")
    await until(lambda: kept.id in heard.ids())
    row = await database.fetchrow("select * from hook_dead_letter")
    assert row is not None
    assert (row["event"], row["partition"]) == (None, partition_of("default", "s1"))
    assert row["error"].startswith("POSITION_EXPIRED")


async def test_health_tells_what_is_missing(
    database: DatabaseManager, redis: Any, source: Any, manager: Manager, start: Any, listener: Any
) -> None:
    """Until a hook is registered with its log the manager is unhealthy and names the log; then healthy, with its lag."""
    hooks = manager()
    hooks.on("state.orders.changed", listener(), name="h")
    await source.server.stop()
    task = asyncio.create_task(hooks.run())
    await until(lambda: hooks._durable is not None)
    health = await hooks.health()
    assert (health.status, health.details) == (Status.UNHEALTHY, "hooks wait for the events of state")
    await source.server.start()
    health = await until(hooks.health, lambda health: health.status is Status.HEALTHY, within_s=60)
    assert "lag_seconds" in health.metrics
    task.cancel()
    await asyncio.wait([task])


async def test_registration_mistakes(manager: Manager, redis: Any, start: Any, listener: Any) -> None:
    """A name taken twice, a durable hook without a database, and a hook after the start are refused at once."""
    hooks = manager()
    hooks.on("a.b", listener(), name="h", delivery="each")
    with pytest.raises(ValueError, match="already"):
        hooks.on("a.b", listener(), name="h")
    with pytest.raises(ValueError, match="needs a store"):
        HooksManager(redis).on("a.b", listener(), name="h")
    await start(hooks)
    with pytest.raises(ValueError, match="before they run"):
        hooks.on("a.b", listener(), name="other")
