"""A log that was taken back begins a new epoch: nobody reads on in it as if nothing had happened."""

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from stylobate.database import DatabaseManager
from stylobate.launcher.embedded import postgres
from stylobate.leases import LeaseManager
from stylobate.leases.postgres import PostgresLeaseStore
from stylobate.outbox import Position, PositionExpiredError, Relay
from stylobate.outbox.postgres import PostgresEventLog, PostgresNumbering
from stylobate.outbox.watch import LogWatch
from stylobate.redis import RedisManager
from stylobate.testing.databases import Databases
from stylobate.testing.until import until

EPOCH = "01890000-0000-7000-8000-000000000001"


def at(numbers: list[int], epoch: str = "") -> Position:
    """Return a position with these numbers in the first partitions."""
    return Position.of(numbers + [0] * (16 - len(numbers)), epoch)


async def go_on(journal: Any, position: Position) -> Position:
    """Return where the log says to go on."""
    with pytest.raises(PositionExpiredError) as caught:
        await journal.log.check(position)
    with pytest.raises(PositionExpiredError) as read:
        await journal.log.read(position)
    assert read.value.metadata == caught.value.metadata
    return Position.parse(caught.value.metadata["position"])


async def ends(database: DatabaseManager, *numbers: int) -> None:
    """Let the first partitions end at these numbers."""
    for partition, number in enumerate(numbers):
        await database.execute("update outbox_head set number = $2 where partition = $1", partition, number)


def test_positions_are_read_in_both_forms() -> None:
    """The first epoch has the form that earlier releases wrote and read; another one names itself."""
    old = "1" + ".a" * 16
    assert str(Position.parse(old)) == old
    assert Position.parse(old).epoch == ""
    new = Position.of([10] * 16, EPOCH)
    assert Position.parse(str(new)) == new
    assert new.advanced({1: 11}).epoch == EPOCH


async def test_a_position_of_an_older_epoch_goes_on_at_what_is_shared(journal: Any) -> None:
    """From an older epoch one goes on where the two part, per partition, over any number of epochs; one ahead is taken back."""
    await ends(journal.database, 10, 10, 10)
    assert await journal.numbering.begin("b", "restored", starts={0: 4})
    await ends(journal.database, 12, 20, 30)
    assert await go_on(journal, at([9, 9, 12])) == at([4, 9, 10], "b")
    assert await journal.numbering.begin("c", "restored", starts={1: 5, 2: 25})
    assert await go_on(journal, at([9, 9, 12])) == at([4, 5, 10], "c")
    assert await go_on(journal, at([9, 9, 12], "b")) == at([9, 5, 12], "c")
    assert await go_on(journal, at([99, 9, 99], "never heard of")) == at([12, 5, 25], "c")
    assert await go_on(journal, at([99, 9, 9], "c")) == at([12, 9, 9], "c")
    await journal.log.check(at([12, 20, 30], "c"))
    assert await journal.log.head() == at([12, 20, 30], "c")


async def test_another_database_begins_an_epoch(journal: Any) -> None:
    """Where the cluster, its timeline, the database or the table is another one, numbering waits until an epoch has begun."""
    assert await journal.numbering.claim(1)
    assert await journal.numbering.settle(1, "first") == ""  # noted, nothing was before
    await journal.write("s1")
    assert len(await journal.numbering.number(1)) == 1
    await journal.database.execute("update outbox_head set origin = 'another'")
    await journal.write("s1")
    assert await journal.numbering.number(1) is None
    assert await journal.numbering.settle(2, EPOCH) == ""  # not under another token
    assert await journal.numbering.settle(1, EPOCH) == EPOCH
    assert await journal.numbering.settle(1, "again") == ""
    assert [logged.number for logged in await journal.numbering.number(1)] == [2]
    assert (await journal.log.head()).epoch == EPOCH


async def test_a_restored_dump_is_another_database(
    databases: Databases, redis: RedisManager, tmp_path: Path, database_for: Any, journal: Any
) -> None:
    """After pg_dump and pg_restore into an empty database the relay begins an epoch, by itself."""
    leases = LeaseManager(PostgresLeaseStore(journal.database), "before")
    relay = Relay(PostgresEventLog(journal.database, "test"), PostgresNumbering(journal.database, "test"), leases, redis)
    task = asyncio.create_task(relay.run())
    await until(lambda: relay._is_leading)
    task.cancel()
    await asyncio.wait([task])
    programs, dump = postgres.programs(), str(tmp_path / "dump")
    name = await journal.database.fetchval("select current_database()")
    async with databases.empty() as url:
        for command in (
            [programs / "pg_dump", "-Fc", "-f", dump, databases._named(name)],
            [programs / "pg_restore", "-d", url, dump],
        ):
            subprocess.run(command, check=True, env={**os.environ, "LC_ALL": "C"}, timeout=60)  # noqa: ASYNC221  a fixed command
        async with DatabaseManager.open(url, service="test") as restored:
            relay = Relay(
                PostgresEventLog(restored, "test"),
                PostgresNumbering(restored, "test"),
                LeaseManager(PostgresLeaseStore(restored), "after"),
                redis,
            )
            task = asyncio.create_task(relay.run())
            await until(lambda: relay._is_leading)
            assert await restored.fetchval("select count(*) from outbox_epoch") == 1
            task.cancel()
            await asyncio.wait([task])


async def test_numbers_that_come_twice_begin_an_epoch(journal: Any, redis: RedisManager) -> None:
    """Rows and ends that are taken back under a running relay are noticed with the next event."""
    heard: list[str] = []
    relay = Relay(
        PostgresEventLog(journal.database, "test"),
        PostgresNumbering(journal.database, "test"),
        LeaseManager(PostgresLeaseStore(journal.database), "r"),
        redis,
        on_numbered=lambda: heard.append("test"),
    )
    task = asyncio.create_task(relay.run())
    await journal.write("s1", "s1", "s1")
    relay.wake()
    await until(lambda: heard)
    position = await journal.log.head()
    partition = next(number for number in range(16) if position.numbers[number])
    await journal.database.execute("delete from outbox_event where number > 1")
    await journal.database.execute("update outbox_head set number = 1 where partition = $1", partition)
    await journal.write("s1", "s1")
    relay.wake()
    await until(lambda: len(heard) >= 3)
    assert await go_on(journal, position) == Position.origin((await journal.log.head()).epoch).advanced({partition: 1})
    task.cancel()
    await asyncio.wait([task])


async def test_who_waits_hears_that_the_log_was_taken_back(journal: Any) -> None:
    """A reader that waits for more is sent to read, and told there, when the epoch or an end goes another way than up."""
    watch = LogWatch()
    watch.add(journal.log)
    await ends(journal.database, 10)
    for position in (at([10]), at([11])):
        waiting = asyncio.create_task(watch.beyond("test", position, [0, 1], None))
        await asyncio.sleep(0)
        if position == at([10]):
            await PostgresNumbering(journal.database, "test").begin(EPOCH, "restored")
        assert await asyncio.wait_for(waiting, 60) in ([0], [0, 1])
    await watch.close()
