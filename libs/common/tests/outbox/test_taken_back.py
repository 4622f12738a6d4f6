"""A log that is taken back under streams that are open: each reader is told, and then misses nothing that is in the log."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from stylobate.api.events.v1.event_service_pb2 import START_EARLIEST, ReadEventsRequest
from stylobate.api.events.v1.event_service_pb2_grpc import EventServiceStub
from stylobate.errors import StylobateError
from stylobate.leases import LeaseManager
from stylobate.leases.postgres import PostgresLeaseStore
from stylobate.outbox import Event, EventServicer, Position, Relay
from stylobate.outbox.errors import PositionExpiredError
from stylobate.outbox.postgres import PostgresEventLog, PostgresNumbering
from stylobate.redis import RedisManager
from stylobate.testing.until import until

from .streams import served

EPOCH = "01890000-0000-7000-8000-000000000001"
SUBJECTS = [f"s{number}" for number in range(12)]


async def begun(journal: Any) -> None:
    """Take back rows and ends, and begin an epoch, as a relay does that sees another database."""
    await cut(journal)
    await journal.numbering.begin(EPOCH, "restored")


async def cut(journal: Any) -> None:
    """Take back rows and ends, and tell nobody."""
    await journal.database.execute("delete from outbox_event where number > 1")
    await journal.database.execute("update outbox_head set number = least(number, 1)")


async def cut_and_grown(journal: Any) -> None:
    """Take back, and write as many others before anybody looks."""
    await cut(journal)
    await journal.write(*SUBJECTS, *SUBJECTS, *SUBJECTS)


@pytest.fixture
async def relayed(journal: Any, redis: RedisManager) -> AsyncIterator[EventServiceStub]:
    """Give a stub to a log that a relay numbers."""
    async with EventServicer.open(redis) as servicer, served(servicer) as stub:
        relay = Relay(
            PostgresEventLog(journal.database, "test"),
            PostgresNumbering(journal.database, "test"),
            LeaseManager(PostgresLeaseStore(journal.database), "r"),
            redis,
            on_numbered=servicer.add(journal.log),
        )
        task = asyncio.create_task(relay.run())
        yield stub
        task.cancel()
        await asyncio.wait([task])


class Reader:
    """Follows the log from its beginning, and goes on where it is told to."""

    def __init__(self, stub: EventServiceStub, partitions: Sequence[int]) -> None:
        self.heard: set[str] = set()
        self.told: list[str] = []
        self.partitions = partitions
        self._stub = stub

    async def run(self) -> None:
        """Read until cancelled."""
        position = ""
        while True:
            request = ReadEventsRequest(source="test", start=START_EARLIEST, position=position, partitions=self.partitions)
            try:
                async for message in self._stub.ReadEvents(request):
                    self.heard |= {Event.parse(entry.event).id for entry in message.events}
                    position = message.position
            except StylobateError as error:
                if error.reason != "POSITION_EXPIRED":
                    raise
                position = error.metadata["position"]
                self.told.append(position)


@pytest.mark.parametrize("take_back", [begun, cut, cut_and_grown])
async def test_an_open_stream_is_told_and_misses_nothing(
    journal: Any, relayed: EventServiceStub, take_back: Callable[[Any], Awaitable[None]]
) -> None:
    """Every reader hears that the log was taken back, and then every event that is in it."""
    readers = [Reader(relayed, partitions) for partitions in ([], range(8), range(8, 16), [])]
    tasks = [asyncio.create_task(reader.run()) for reader in readers]
    written = await journal.write(*SUBJECTS, *SUBJECTS, *SUBJECTS)
    await until(lambda: len(readers[0].heard) == len(readers[3].heard) == len(written))
    await until(lambda: len(readers[1].heard | readers[2].heard) == len(written))
    await take_back(journal)
    await journal.write(*SUBJECTS)
    await until(lambda: all(reader.told for reader in readers))
    await until(
        lambda: journal.database.fetchval("select count(*) from outbox_event where number is null"),
        lambda found: not found,
        within_s=60,
    )

    async def read_whole() -> Any:
        with suppress(PositionExpiredError):  # another epoch has begun since the head was read
            return await journal.after(Position.origin((await journal.log.head()).epoch))

    logged, _ = await until(read_whole)
    for reader in readers:
        asked = set(reader.partitions or range(16))
        await until(lambda reader=reader, asked=asked: {e.event.id for e in logged if e.partition in asked} <= reader.heard)
    assert not any(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
