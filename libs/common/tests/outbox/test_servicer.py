"""EventService as a reader elsewhere sees it: through the generated stub, with errors as they cross."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import pytest
from stylobate.api.events.v1.event_service_pb2 import START_EARLIEST, LoggedEvent
from stylobate.api.events.v1.event_service_pb2_grpc import EventServiceStub
from stylobate.errors import StylobateError
from stylobate.outbox import CHANNEL, Event, EventServicer, Position, partition_of
from stylobate.outbox.postgres import PostgresEventLog
from stylobate.outbox.servicer import _messages
from stylobate.outbox.watch import LogWatch
from stylobate.redis import RedisManager

from .streams import Stream, served


@pytest.fixture
async def stub(journal: Any, redis: RedisManager) -> AsyncIterator[EventServiceStub]:
    """Give a stub to the log of `journal`."""
    async with EventServicer.open(redis, [journal.log]) as servicer, served(servicer) as stub:
        yield stub


def ids(events: list[LoggedEvent]) -> list[str]:
    """Return the ids of the events in the messages."""
    return [Event.parse(entry.event).id for entry in events]


async def test_first_message_says_where_it_begins(journal: Any, stub: EventServiceStub) -> None:
    """Before any event a reader learns the position it starts from: the end of the log, or its beginning."""
    await journal.write("s1")
    await journal.number()
    latest, earliest = Stream(stub), Stream(stub, start=START_EARLIEST)
    assert await latest.begin() == str(await journal.log.head())
    assert await earliest.begin() == str(Position.origin())
    (entry,) = await earliest.take(1)
    assert (entry.partition, entry.number, entry.position) == (partition_of("default", "s1"), 1, str(await journal.log.head()))
    await journal.write("s1")
    await journal.number()
    assert [entry.number for entry in await latest.take(1)] == [2]


async def test_reading_on_from_every_position_misses_nothing(journal: Any, stub: EventServiceStub) -> None:
    """Whatever event a reader stops behind, going on from its position gives all the others and none twice."""
    written = await journal.write("s1", "s2", "s3", "s1")
    await journal.number()
    first = Stream(stub, start=START_EARLIEST)
    await first.begin()
    events = await first.take(4)
    for done in range(4):
        again = Stream(stub, position=events[done].position)
        await again.begin()
        if rest := 3 - done:
            assert ids(await again.take(rest)) == ids(events[done + 1 :])
        again.close()
    assert sorted(ids(events)) == sorted(event.id for event in written)


async def test_types_and_partitions(journal: Any, stub: EventServiceStub) -> None:
    """A reader gets only what it asked for."""
    partition = partition_of("default", "s1")
    other = next(name for name in ("s2", "s3", "s4") if partition_of("default", name) != partition)
    wanted = await journal.write("s1", type="test.order.paid")
    await journal.write("s1", type="test.order.sent")
    await journal.write(other, type="test.order.paid")
    await journal.number()
    stream = Stream(stub, start=START_EARLIEST, types=["test.*.paid"], partitions=[partition])
    await stream.begin()
    assert ids(await stream.take(1)) == [wanted[0].id]


async def test_live_copy_wakes_the_stream(journal: Any, redis: RedisManager) -> None:
    """A copy on Redis makes waiting streams look, long before the next look is due."""
    watch = LogWatch(look_every=timedelta(hours=1))
    watch.add(journal.log)
    subscription = await redis.subscribe([f"{CHANNEL}*"], lambda _channel, _payload: watch.notify())
    async with served(EventServicer(watch)) as stub:
        stream = Stream(stub)
        await stream.begin()
        await journal.write("s1")
        await journal.number()
        await redis.publish(f"{CHANNEL}test.thing.changed", b"{}")
        await stream.take(1)
    await subscription.close()
    await watch.close()


async def test_without_a_copy_the_log_is_looked_at(journal: Any, stub: EventServiceStub) -> None:
    """An event whose copy was lost arrives all the same."""
    stream = Stream(stub)
    await stream.begin()
    await journal.write("s1")
    await journal.number()
    await stream.take(1)


@pytest.mark.parametrize("readers", [1, 20])
async def test_readers_share_one_look(journal: Any, readers: int) -> None:
    """However many streams wait, the log is looked at once at a time; and not at all when nobody waits."""
    looks = 0

    class Counted(PostgresEventLog):
        async def head(self) -> Position:
            nonlocal looks
            looks += 1
            return await super().head()

    watch = LogWatch(look_every=timedelta(hours=1))
    watch.add(Counted(journal.database, "test"))
    watch.notify()
    async with served(EventServicer(watch)) as stub:
        streams = [Stream(stub, start=START_EARLIEST) for _ in range(readers)]
        for stream in streams:
            await stream.begin()
        await asyncio.sleep(0.2)  # in which nothing is to happen
        assert looks <= 2
        await journal.write("s1")
        await journal.number()
        watch.notify()
        await asyncio.gather(*(stream.take(1) for stream in streams))
    assert looks <= 6
    await watch.close()


async def test_quiet_reader_learns_how_far_it_is(journal: Any) -> None:
    """A reader whose types do not occur is told the position now and then, so that what it keeps does not expire."""
    watch = LogWatch(look_every=timedelta(milliseconds=10))
    watch.add(journal.log)
    async with served(EventServicer(watch, quiet=timedelta(milliseconds=50))) as stub:
        stream = Stream(stub, types=["test.never.happens"])
        await stream.begin()
        await journal.write("s1", "s2")
        await journal.number()
        assert await stream.begin() == str(await journal.log.head())
    await watch.close()


async def test_two_sources_by_one_servicer(journal: Any, redis: RedisManager) -> None:
    """One servicer serves the logs of several services; the source tells them apart; one may join later."""
    async with EventServicer.open(redis) as servicer, served(servicer) as stub:
        with pytest.raises(StylobateError) as caught:
            await Stream(stub).begin()
        assert (caught.value.reason, caught.value.code) == ("EVENT_SOURCE_UNKNOWN", grpc.StatusCode.NOT_FOUND)
        servicer.add(journal.log)
        servicer.add(PostgresEventLog(journal.database, "second"))
        assert await Stream(stub).begin() == await Stream(stub, source="second").begin()
        with pytest.raises(ValueError, match="already"):
            servicer.add(journal.log)


async def test_expired_position_crosses_as_its_error(journal: Any, stub: EventServiceStub) -> None:
    """A reader that was away too long gets OUT_OF_RANGE `POSITION_EXPIRED` with the oldest position, and can go on there."""
    await journal.write("s1", "s1")
    await journal.number()
    await journal.log.prune(timedelta(0))
    with pytest.raises(StylobateError) as caught:
        await Stream(stub, position=str(Position.origin())).begin()
    assert (caught.value.reason, caught.value.code) == ("POSITION_EXPIRED", grpc.StatusCode.OUT_OF_RANGE)
    assert await Stream(stub, position=caught.value.metadata["position"]).begin() == str(await journal.log.head())


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"position": "nonsense"}, "POSITION_INVALID"),
        ({"position": "2..1" + ".0" * 15}, "POSITION_INVALID"),
        ({"partitions": [16]}, "INVALID_INPUT"),
        ({"types": ["a..b"]}, "EVENT_PATTERN_INVALID"),
    ],
)
async def test_bad_requests(stub: EventServiceStub, request_: dict[str, Any], reason: str) -> None:
    """A request that means nothing is refused with its own reason."""
    with pytest.raises(StylobateError) as caught:
        await Stream(stub, **request_).begin()
    assert (caught.value.reason, caught.value.code) == (reason, grpc.StatusCode.INVALID_ARGUMENT)


async def test_large_pages_go_in_several_messages(journal: Any) -> None:
    """A page of large events is cut into messages of about a megabyte, each with a position one can go on from."""
    events = [Event.new("test.thing.changed", f"s{number}", "x" * 400_000) for number in range(6)]
    async with journal.database.transaction() as connection:
        await journal.outbox.append(connection, events, stream="thing")
    await journal.number()
    page = await journal.log.read(Position.origin())
    messages = list(_messages(Position.origin(), page))
    assert [len(message.events) for message in messages] == [2, 2, 2]
    assert messages[-1].position == str(page.position)
    rest, _ = await journal.after(Position.parse(messages[0].position))
    assert len(rest) == 4
