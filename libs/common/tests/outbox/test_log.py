"""Reading the log, and pruning it."""

from datetime import timedelta
from typing import Any

import pytest
from stylobate.outbox import Event, EventPattern, Position, partition_of

SUBJECTS = [f"s{number}" for number in range(100)]


@pytest.mark.parametrize("either", ["postgres", "mongodb"], indirect=True)
async def test_large_events_are_read_a_few_at_a_time(either: Any) -> None:
    """A read ends before its data grows far over its share, and the next goes on behind what was given."""
    journal = either
    events = [Event.new("test.thing.changed", "s", {"of": number, "text": "x" * 900_000}) for number in range(25)]
    for event in events:
        async with journal.transaction() as transaction:
            await journal.outbox.append(transaction, [event], stream="thing")
    while await journal.number():
        pass
    position, found = Position.origin(), []
    for wanted in (None, [partition_of("default", "s")]):
        while (page := await journal.log.read(position, wanted)).position != position:
            assert 1 <= sum(len(logged.event.data) for logged in page.events) <= 10_000_000
            found += [logged.event.id for logged in page.events]
            position = page.position
    assert found == [event.id for event in events]


async def test_pruning_in_batches(journal: Any) -> None:
    """More than one batch is removed in one call."""
    await journal.write(*(["same"] * 25))
    await journal.number()
    assert await journal.log.prune(timedelta(0), batch=10) == 25
    assert await journal.database.fetchval("select count(*) from outbox_event") == 0
    await journal.write("same")
    assert [logged.number for logged in await journal.number()] == [26]


async def test_seldom_types_are_found_behind_a_long_stretch(journal: Any) -> None:
    """One read looks at a bounded stretch of the log; reading on from its position finds what lies behind."""
    await journal.database.execute(
        """insert into outbox_event (id, tenant, partition, stream, subject, version, type, source, data)
           select gen_random_uuid(), 'default', 0, 'x', 'x', n, 'test.x.often', 'test', '1' from generate_series(1, 6000) n"""
    )
    await journal.database.execute(
        """insert into outbox_event (id, tenant, partition, stream, subject, version, type, source, data)
           values (gen_random_uuid(), 'default', 0, 'x', 'x', 6001, 'test.x.seldom', 'test', '2')"""
    )
    await journal.number()
    seldom = [EventPattern.parse("test.x.seldom")]
    first = await journal.log.read(Position.origin(), types=seldom)
    assert (first.events, first.position.numbers[0]) == ([], 5000)
    second = await journal.log.read(first.position, types=seldom)
    assert [logged.number for logged in second.events] == [6001]
