"""Reading the log, and pruning it."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from stylobate.outbox import Event, EventPattern, Position, PositionExpiredError, partition_of

SUBJECTS = [f"s{number}" for number in range(100)]


async def test_reading_page_by_page_finds_everything_once(journal: Any) -> None:
    """Small pages, one after the other from the position of the last, give every event once and end at the head."""
    await journal.write(*SUBJECTS)
    await journal.number()
    position, found = Position.origin(), Counter[str]()
    while (page := await journal.log.read(position, limit=20)).position != position:
        assert len(page.events) <= 20
        found.update(logged.event.subject for logged in page.events)
        position = page.position
    assert found == Counter(SUBJECTS)
    assert position == await journal.log.head()


async def test_large_events_are_read_a_few_at_a_time(journal: Any) -> None:
    """A read ends before its data grows far over its share, and the next goes on behind what was given."""
    events = [Event.new("test.thing.changed", "s", {"of": number, "text": "x" * 900_000}) for number in range(25)]
    for event in events:
        async with journal.database.transaction() as connection:
            await journal.outbox.append(connection, [event], stream="thing")
    await journal.number()
    position, found = Position.origin(), []
    for wanted in (None, [partition_of("default", "s")]):
        while (page := await journal.log.read(position, wanted)).position != position:
            assert 1 <= sum(len(logged.event.data) for logged in page.events) <= 10_000_000
            found += [logged.event.id for logged in page.events]
            position = page.position
    assert found == [event.id for event in events]


async def test_reading_some_partitions(journal: Any) -> None:
    """Of chosen partitions only those events come, and only their part of the position moves."""
    await journal.write(*SUBJECTS)
    await journal.number()
    page = await journal.log.read(Position.origin(), partitions=[3, 7])
    assert {logged.event.subject for logged in page.events} == {s for s in SUBJECTS if partition_of("default", s) in {3, 7}}
    assert page.position == Position.origin().advanced({p: (await journal.log.head()).numbers[p] for p in (3, 7)})


async def test_reading_some_types(journal: Any) -> None:
    """Of chosen types only those events come; the position moves over the others too."""
    await journal.write(*SUBJECTS[:50], type="test.order.paid")
    await journal.write(*SUBJECTS[50:], type="test.order.sent")
    await journal.number()
    page = await journal.log.read(
        Position.origin(), types=[EventPattern.parse("test.*.sent"), EventPattern.parse("x.y")], limit=1000
    )
    assert {logged.event.subject for logged in page.events} == set(SUBJECTS[50:])
    assert page.position == await journal.log.head()


async def test_unnumbered_events_are_not_in_the_log(journal: Any) -> None:
    """What no relay has numbered is not read yet, and the position does not pass it."""
    await journal.write("s1")
    page = await journal.log.read(Position.origin())
    assert page.events == []
    assert page.position == Position.origin()


async def test_position_beyond_the_end_is_told(journal: Any) -> None:
    """A position that this log never reached (of another log, or from before a restore) is an error that says where to go on."""
    with pytest.raises(PositionExpiredError) as caught:
        await journal.log.read(Position.origin().advanced({0: 1}))
    assert caught.value.metadata["position"] == str(Position.origin())


async def test_pruning_takes_old_published_events_only(journal: Any) -> None:
    """Pruning removes what was published and is older; the young and the unnumbered stay, and are read without a gap."""
    await journal.write("same", "same")
    await journal.number()
    await journal.database.execute("update outbox_event set time = now() - interval '2 days'")
    await journal.write("same")
    await journal.number()
    waiting = await journal.write("same")
    await journal.database.execute("update outbox_event set time = now() - interval '2 days' where number is null")
    assert await journal.log.prune(timedelta(days=1)) == 2
    oldest = await journal.log.oldest()
    assert [logged.number for logged in (await journal.after(oldest))[0]] == [3]
    await journal.number()
    assert [logged.event.id for logged in (await journal.after(oldest))[0]][1:] == [waiting[0].id]


async def test_pruning_stops_at_the_first_young_event(journal: Any) -> None:
    """An old event behind a young one stays: what is kept of a partition is always its end, whole."""
    await journal.write("same", "same", "same")
    await journal.number()
    await journal.database.execute("update outbox_event set time = now() - interval '2 days' where number <> 2")
    assert await journal.log.prune(timedelta(days=1)) == 1
    assert [logged.number for logged in (await journal.after(await journal.log.oldest()))[0]] == [2, 3]


async def test_pruning_in_batches(journal: Any) -> None:
    """More than one batch is removed in one call."""
    await journal.write(*(["same"] * 25))
    await journal.number()
    assert await journal.log.prune(timedelta(0), batch=10) == 25
    assert await journal.database.fetchval("select count(*) from outbox_event") == 0
    await journal.write("same")
    assert [logged.number for logged in await journal.number()] == [26]


async def test_expired_position_is_told(journal: Any) -> None:
    """Reading from before the pruned edge raises POSITION_EXPIRED with the oldest position there is, never a gap."""
    await journal.write("same", "same")
    await journal.number()
    await journal.log.prune(timedelta(0))
    await journal.write("same")
    await journal.number()
    with pytest.raises(PositionExpiredError) as caught:
        await journal.log.read(Position.origin())
    events, _ = await journal.after(Position.parse(caught.value.metadata["position"]))
    assert [logged.number for logged in events] == [3]
    with pytest.raises(PositionExpiredError):
        await journal.log.check(Position.origin())
    other = (partition_of("default", "same") + 1) % 16
    await journal.log.check(Position.origin(), [other])


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
