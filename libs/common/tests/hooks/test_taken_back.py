"""A log that was taken back: hooks go on with the first new event, and what is missing stands on record."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from stylobate.database import DatabaseManager, MigrationSet, Migrator
from stylobate.hooks import HooksManager
from stylobate.hooks.postgres import PostgresHookStore
from stylobate.ids import new_id
from stylobate.leases import LeaseManager
from stylobate.leases.postgres import PostgresLeaseStore
from stylobate.outbox import Event, Position, Relay, partition_of
from stylobate.outbox.postgres import PostgresEventLog, PostgresNumbering, PostgresOutbox
from stylobate.redis import RedisManager
from stylobate.testing.standby import pair
from stylobate.testing.until import until

Manager = Callable[..., HooksManager]
SETS = (MigrationSet.of("leases", "stylobate.leases"), MigrationSet.of("outbox", "stylobate.outbox"))
PARTITION = partition_of("default", "s1")


async def gap_on_record(database: DatabaseManager) -> Any:
    """Wait for the record of a gap and return it."""
    query = "select * from hook_dead_letter where event is null"
    async with asyncio.timeout(30):
        return await until(lambda: database.fetchrow(query), lambda row: row is not None)


async def take_back(source: Any, count: int) -> None:
    """Take back the last events of the partition of s1, as a restore or a failover does."""
    await source.database.execute(
        "delete from outbox_event where partition = $1 and number > (select number - $2 from outbox_head where partition = $1)",
        PARTITION,
        count,
    )
    await source.database.execute("update outbox_head set number = number - $2 where partition = $1", PARTITION, count)


@pytest.mark.parametrize("noticed_by", ["restore", "relay", "position beyond the end"])
async def test_every_event_after_a_log_was_taken_back_is_heard(
    manager: Manager, start: Any, source: Any, database: DatabaseManager, listener: Any, settled: Any, noticed_by: str
) -> None:
    """However it is noticed: each event written afterwards is heard, in the same partition too, and the gap is on record."""
    heard = listener()
    hooks = manager()
    hooks.on("state.orders.changed", heard, name="h")
    stop = await start(hooks)
    await source.write("s1", "s1", "s1", "other")
    await until(lambda: len(heard.events) == 4)
    await settled(database, source)
    if noticed_by == "position beyond the end":
        await stop()  # a hook that comes back later, before there is a new event
    await take_back(source, 2)
    if noticed_by == "restore":
        await PostgresNumbering(source.database, "test").begin(new_id(), "restored")
    if noticed_by == "position beyond the end":
        hooks = manager()
        hooks.on("state.orders.changed", heard, name="h")
        await start(hooks)
        await gap_on_record(database)
    after = await source.write("s1", "s1", "s1", "other")
    await until(lambda: {event.id for event in after} <= set(heard.ids()))
    row = await gap_on_record(database)
    assert (row["hook"], row["partition"]) == ("h", PARTITION)
    assert row["error"].startswith("LOG_TAKEN_BACK: numbers 2 to ")
    assert len(set(heard.ids())) == 8
    if noticed_by == "restore":  # else one may hear of the epoch after the first new events, and hear these again
        assert (row["number"], len(heard.ids())) == (3, 8)
    await settled(database, source)


async def test_positions_of_the_reader_that_are_taken_back_repeat_and_lose_nothing(
    manager: Manager, start: Any, source: Any, database: DatabaseManager, listener: Any, settled: Any
) -> None:
    """When the hooks' own database is the restored one, events come again, and none is missed."""
    heard = listener()
    hooks = manager()
    hooks.on("state.orders.changed", heard, name="h")
    stop = await start(hooks)
    before = await source.write("s1", "s1", "s1")
    await until(lambda: len(heard.events) == 3)
    await settled(database, source)
    await stop()
    await database.execute("update hook_position set number = number - 2 where partition = $1", PARTITION)
    hooks = manager()
    hooks.on("state.orders.changed", heard, name="h")
    await start(hooks)
    after = await source.write("s1")
    await until(lambda: len(heard.events) == 6)
    assert heard.ids()[3:] == [event.id for event in (*before[1:], *after)]


async def test_a_rewound_hook_goes_back_while_it_runs(
    manager: Manager, start: Any, source: Any, database: DatabaseManager, listener: Any, settled: Any
) -> None:
    """Positions that somebody set take hold in the running process within seconds, and are not moved on from the old ones."""
    heard = listener()
    hooks = manager()
    hooks.on("state.orders.changed", heard, name="h")
    await start(hooks)
    await source.write("s1", "s1", "s2")
    await until(lambda: len(heard.events) == 3)
    await settled(database, source)
    assert await PostgresHookStore(database).rewind("h", "state", Position.origin())
    assert not await PostgresHookStore(database).rewind("none", "state", Position.origin())
    await until(lambda: len(heard.events) == 6, within_s=30)
    assert sorted(heard.ids()[:3]) == sorted(heard.ids()[3:])


async def test_a_promoted_standby_without_the_last_events(
    tmp_path: Path,
    redis: RedisManager,
    database: DatabaseManager,
    manager: Manager,
    start: Any,
    listener: Any,
    served: Any,
) -> None:
    """After a failover that lost acknowledged events every later acknowledged one is heard, and the gap is on record."""
    heard = listener()
    async with pair(tmp_path) as both:
        await Migrator(both.url, "state", SETS).upgrade()
        async with DatabaseManager.open(both.url, service="state") as state, served(state, redis) as channel:
            outbox, relay = (
                PostgresOutbox("state"),
                Relay(
                    PostgresEventLog(state, "state"),
                    PostgresNumbering(state, "state"),
                    LeaseManager(PostgresLeaseStore(state), "state-1"),
                    redis,
                ),
            )
            relaying = asyncio.create_task(relay.run())

            async def write(count: int) -> list[Event]:
                events = [Event.new("state.orders.changed", "s1", {}) for _ in range(count)]
                for event in events:
                    async with state.transaction() as connection:
                        await outbox.append(connection, [event], stream="orders")
                    relay.wake()
                return events

            hooks = manager(channel=channel)
            hooks.on("state.orders.changed", heard, name="h")
            await start(hooks)
            await write(3)
            await until(lambda: len(heard.events) == 3)
            await both.caught_up()
            await both.cut()
            await write(2)  # acknowledged, heard, and lost
            await until(lambda: len(heard.events) == 5)
            await both.fail_over()
            async with asyncio.timeout(30):
                while True:
                    with suppress(Exception):
                        after = await write(1)
                        break
            after += await write(4)
            await until(lambda: {event.id for event in after} <= set(heard.ids()), within_s=60)
            assert heard.ids()[5:] == [event.id for event in after]
            row = await gap_on_record(database)
            assert row["error"].startswith("LOG_TAKEN_BACK: numbers 4 to 5 ")
            assert await state.fetchval("select count(*) from outbox_epoch") == 1
            relaying.cancel()
            await asyncio.wait([relaying])
