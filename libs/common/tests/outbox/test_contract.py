"""What every outbox, log and numbering promises, held against all of them."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from stylobate.outbox import Event, EventPattern, LoggedEvent, Position, PositionExpiredError, partition_of
from stylobate.outbox.errors import EventWrittenError

GapFree = Callable[[Sequence[LoggedEvent]], bool]
SUBJECTS = [f"s{number}" for number in range(100)]
NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=2)


@pytest.fixture
def journal(either: Any) -> Any:
    """Give each kind of store in turn."""
    return either


async def written(journal: Any, *times: datetime) -> list[Event]:
    """Write an event of one subject for each time, in one transaction."""
    events = [replace(Event.new("test.thing.changed", "same", {}), time=time) for time in times]
    async with journal.transaction() as transaction:
        await journal.outbox.append(transaction, events, stream="thing")
    return events


async def test_event_lives_and_dies_with_the_transaction(journal: Any) -> None:
    """A committed event reaches the log as it was written; one of a transaction that failed never does."""
    event = Event.new("test.thing.made", "s1", {"a": 1}, tenant="acme", actor="u1")
    async with journal.transaction() as transaction:
        await journal.outbox.append(transaction, [event], stream="thing", version=1)
    with suppress(RuntimeError):
        async with journal.transaction() as transaction:
            await journal.outbox.append(transaction, [Event.new("test.thing.made", "s2", {})], stream="thing", version=1)
            raise RuntimeError
    (logged,) = await journal.number()
    assert (logged.partition, logged.number) == (partition_of("acme", "s1"), 1)
    stored = logged.event
    assert (stored.id, stored.type, stored.subject, stored.tenant, stored.actor) == (event.id, event.type, "s1", "acme", "u1")
    assert (stored.source, stored.time, stored.value()) == ("test", event.time, {"a": 1})


async def test_what_stands_aside_is_read_in_the_log_alone(journal: Any) -> None:
    """Whoever follows the log in its own service has it; the event as it goes out has not."""
    first, second = Event.new("test.thing.made", "s1", {"a": 1}), Event.new("test.thing.made", "s1", {})
    async with journal.transaction() as transaction:
        await journal.outbox.append(transaction, [replace(first, aside=b'{"was": [1.50]}'), second], stream="thing")
    numbered = [logged.event for logged in await journal.number()]
    read = [logged.event for logged in await journal.all()]
    for events in (numbered, read):
        assert [json.loads(event.aside or b"null") for event in events] == [{"was": [1.5]}, None]
    assert b"was" not in read[0].json()


async def test_a_version_is_taken_once(journal: Any) -> None:
    """Two writers of one subject's version: the second is refused by the database."""
    for expected in (None, EventWrittenError):
        with suppress(*([expected] if expected else [])):
            async with journal.transaction() as transaction:
                await journal.outbox.append(transaction, [Event.new("a.b", "s", expected is None)], stream="thing", version=7)
    assert [logged.event.value() for logged in await journal.number()] == [True]


async def test_the_number_of_a_version_is_found(journal: Any) -> None:
    """Of the versions asked for those are told that have a number, each its own; of other streams and tenants none."""
    for subject, version in (("s1", 1), ("s1", 2), ("s2", 5)):
        async with journal.transaction() as transaction:
            await journal.outbox.append(transaction, [Event.new("a.b", subject, {})], stream="thing", version=version)
    asked = {"s1": 2, "s2": 5, "s3": 1}
    assert await journal.log.numbers("default", "thing", asked) == {}
    numbers = {(logged.event.subject, logged.number) for logged in await journal.number()}
    found = await journal.log.numbers("default", "thing", asked)
    assert found.keys() == {"s1", "s2"}
    assert set(found.items()) <= numbers
    assert found["s1"] == 2
    assert await journal.log.numbers("default", "other", asked) == await journal.log.numbers("acme", "thing", asked) == {}


async def test_tenants_are_apart(journal: Any, is_gap_free: GapFree) -> None:
    """The same stream, subject and version of two tenants are two events, each with its own tenant, in its own order."""
    for tenant in ("acme", "globex"):
        for version in (1, 2):
            event = Event.new("test.thing.made", "s1", version, tenant=tenant)
            async with journal.transaction() as transaction:
                await journal.outbox.append(transaction, [event], stream="thing", version=version)
    await journal.number()
    found = [(logged.event.tenant, logged.event.value()) for logged in await journal.all()]
    assert [value for tenant, value in found if tenant == "acme"] == [1, 2]
    assert [value for tenant, value in found if tenant == "globex"] == [1, 2]
    assert is_gap_free(await journal.all())


async def test_late_committer_is_numbered_later(journal: Any, is_gap_free: GapFree) -> None:
    """An event whose transaction began first and committed last is neither lost nor a gap: it comes when it is there."""
    late = Event.new("test.thing.changed", "same", "late")
    async with journal.transaction() as transaction:
        await journal.outbox.append(transaction, [late], stream="late")
        await journal.write("other", "another")  # sequence numbers behind the late one's, visible before it
        await journal.number()
        reading, position = await journal.after(await journal.log.oldest())
        assert sorted(logged.event.subject for logged in reading) == ["another", "other"]
    await journal.number()
    more, _ = await journal.after(position)
    assert [logged.event.id for logged in more] == [late.id]
    assert is_gap_free(await journal.all())


async def test_outdated_token_numbers_nothing(journal: Any) -> None:
    """Once a newer lease has taken over, a relay that comes late with the older one changes nothing and is told so."""
    assert await journal.numbering.claim(4)
    assert await journal.numbering.claim(5)
    await journal.write("s1")
    assert await journal.numbering.number(4) == []
    assert not await journal.numbering.claim(4)
    assert len(await journal.numbering.number(5)) == 1


async def test_more_than_a_batch(journal: Any, is_gap_free: GapFree) -> None:
    """A backlog larger than one batch is numbered in several, without a gap between them."""
    await journal.write(*(f"s{number % 50}" for number in range(1100)))
    assert len(await journal.number()) == 1100
    assert is_gap_free(await journal.all())


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
    await written(journal, OLD, OLD)
    await journal.number()
    await written(journal, NOW)
    await journal.number()
    (waiting,) = await written(journal, OLD)
    assert await journal.log.prune(timedelta(days=1)) == 2
    oldest = await journal.log.oldest()
    assert [logged.number for logged in (await journal.after(oldest))[0]] == [3]
    await journal.number()
    assert [logged.event.id for logged in (await journal.after(oldest))[0]][1:] == [waiting.id]


async def test_pruning_stops_at_the_first_young_event(journal: Any) -> None:
    """An old event behind a young one stays: what is kept of a partition is always its end, whole."""
    await written(journal, OLD, NOW, OLD)
    await journal.number()
    assert await journal.log.prune(timedelta(days=1)) == 1
    assert [logged.number for logged in (await journal.after(await journal.log.oldest()))[0]] == [2, 3]


async def test_a_position_before_a_time(journal: Any) -> None:
    """Reading on from the position before a time gives the events from that time on, of each partition."""
    await written(journal, OLD, OLD, NOW)
    await journal.number()
    for time, numbers in ((OLD, [1, 2, 3]), (NOW, [3]), (NOW + timedelta(days=1), [])):
        assert [logged.number for logged in (await journal.after(await journal.log.before(time)))[0]] == numbers


async def test_who_listens_is_called_back(journal: Any) -> None:
    """What one process tells wakes those who listen, for as long as they do."""
    heard = asyncio.Event()
    async with journal.numbering.listen(heard.set):
        await journal.numbering.tell()
        async with asyncio.timeout(60):
            await heard.wait()


async def test_an_epoch_begins_where_the_log_was_taken_back(journal: Any) -> None:
    """A position of an older epoch goes on at what both share; the numbers go on, and an outdated token begins nothing."""
    await written(journal, NOW, NOW, NOW)
    await journal.number(token=2)
    there, partition = await journal.log.head(), partition_of("default", "same")
    assert not await journal.numbering.begin("b", "restored", token=1)
    assert await journal.numbering.begin("b", "restored", token=2, starts={partition: 1})
    await written(journal, NOW)
    assert [logged.number for logged in await journal.number(token=2)] == [4]
    for position in (there, replace(there, epoch="never heard of")):
        with pytest.raises(PositionExpiredError) as caught:
            await journal.log.check(position)
        assert Position.parse(caught.value.metadata["position"]) == Position.origin("b").advanced({partition: 1})
    await journal.log.check(await journal.log.head())


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
