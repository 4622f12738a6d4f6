"""A log with a relay, and hooks of another service on it, all on real servers."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count, repeat
from typing import Any

import grpc.aio
import pytest
from stylobate.api.events.v1.event_service_pb2_grpc import add_EventServiceServicer_to_server
from stylobate.database import DatabaseManager, MigrationSet
from stylobate.hooks import HooksManager, Patience
from stylobate.hooks.postgres import PostgresHookStore
from stylobate.leases import LeaseManager
from stylobate.leases.postgres import PostgresLeaseStore
from stylobate.outbox import Event, EventLog, EventServicer, Outbox, Relay
from stylobate.outbox.postgres import PostgresEventLog, PostgresNumbering, PostgresOutbox
from stylobate.redis import RedisManager
from stylobate.rpc import CallerChannel, LocalChannel, LocalServer, Servicers
from stylobate.rpc.call import NO_CAUSE, Cause
from stylobate.rpc.interceptors import CallInterceptor
from stylobate.testing.fixtures import DatabaseFor
from stylobate.testing.until import until

TTL = timedelta(seconds=10)
LEASES = MigrationSet.of("leases", "stylobate.leases")


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


async def settled(database: DatabaseManager, source: "Source", hook: str = "h") -> None:
    """Wait until the stored positions of the hook have reached those of every event that the log has of its type."""
    query = "select partition, number from hook_position where hook = $1"
    last = "select partition, max(number) as number from outbox_event where type like 'state.orders.%' group by partition"

    async def is_settled() -> bool:
        stored = {row["partition"]: row["number"] for row in await database.fetch(query, hook)}
        written = {row["partition"]: row["number"] for row in await source.database.fetch(last)}
        return all(number is not None and stored.get(partition, 0) >= number for partition, number in written.items())

    await until(is_settled)


@asynccontextmanager
async def running(work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Keep something going in the background."""
    task = asyncio.ensure_future(work())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def registered(servicer: EventServicer) -> Servicers:
    """Return the servicers of a process that serves nothing else."""
    servicers = Servicers([CallInterceptor()])
    servicers.register(add_EventServiceServicer_to_server, servicer)
    return servicers


@dataclass
class Source:
    """The service `state`: an outbox, its relay, its EventService behind a channel."""

    database: DatabaseManager
    outbox: Outbox
    log: EventLog
    relay: Relay
    servicers: Servicers
    server: LocalServer
    channel: grpc.aio.Channel

    async def write(
        self,
        *subjects: str,
        type: str = "state.orders.changed",  # noqa: A002  as Event.new
        tenant: str = "default",
        cause: Cause = NO_CAUSE,
    ) -> list[Event]:
        """Write an event for each subject, each in its own transaction, and wake the relay."""
        events = [
            Event.new(type, subject, {"number": number}, tenant=tenant, cause=cause) for number, subject in enumerate(subjects)
        ]
        for event in events:
            async with self.database.transaction() as connection:
                await self.outbox.append(connection, [event], stream="orders")
        self.relay.wake()
        return events


@pytest.fixture
async def source(database_for: DatabaseFor, redis: RedisManager) -> AsyncIterator[Source]:
    """Give the service whose events are reacted to, running."""
    database = await database_for("state", LEASES, MigrationSet.of("outbox", "stylobate.outbox"))
    log = PostgresEventLog(database, "state")
    async with EventServicer.open(redis) as servicer:
        relay = Relay(
            PostgresEventLog(database, "state"),
            PostgresNumbering(database, "state"),
            LeaseManager(PostgresLeaseStore(database), "state-1", TTL),
            redis,
            on_numbered=servicer.add(log),
        )
        servicers = registered(servicer)
        server = LocalServer(servicers)
        await server.start()
        channel = CallerChannel(LocalChannel(server), None)
        async with running(relay.run):
            yield Source(database, PostgresOutbox("state"), log, relay, servicers, server, channel)
        await server.stop()


@pytest.fixture
def served() -> Callable[..., Any]:
    """Give a way to serve the log of a database: a context manager that gives the channel to it."""

    @asynccontextmanager
    async def serve(database: DatabaseManager, redis: RedisManager) -> AsyncIterator[grpc.aio.Channel]:
        async with EventServicer.open(redis) as servicer:
            servicer.add(PostgresEventLog(database, "state"))
            server = LocalServer(registered(servicer))
            await server.start()
            yield CallerChannel(LocalChannel(server), None)
            await server.stop()

    return serve


@pytest.fixture(name="settled")
def settled_fixture() -> Callable[..., Any]:
    """Give :func:`settled`."""
    return settled


@pytest.fixture
def listener() -> Callable[[], Heard]:
    """Give a maker of hooks that keep what they hear."""
    return Heard


@pytest.fixture
async def database(database_for: DatabaseFor) -> DatabaseManager:
    """Give the database of the service that reacts."""
    return await database_for("actions", LEASES, MigrationSet.of("hooks", "stylobate.hooks"))


Start = Callable[..., Any]


@pytest.fixture
def manager(database: DatabaseManager, redis: RedisManager, source: Source) -> Callable[..., HooksManager]:
    """Give a maker of HooksManagers: each is another process of the service that reacts."""
    numbers = count(1)

    def make(over: DatabaseManager = database, channel: grpc.aio.Channel = source.channel, **options: Any) -> HooksManager:
        leases = LeaseManager(PostgresLeaseStore(over), f"actions-{next(numbers)}", TTL)
        patience = Patience(**{"retries": lambda: repeat(0.001), **options})
        return HooksManager(redis, store=PostgresHookStore(over), leases=leases, channel=lambda _: channel, patience=patience)

    return make


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Give a way to start a manager and wait until it is ready; the returned function stops it."""
    async with AsyncExitStack() as stack:

        async def begin(hooks: HooksManager) -> Callable[[], Awaitable[None]]:
            own = await stack.enter_async_context(AsyncExitStack())
            await own.enter_async_context(running(hooks.run))
            await asyncio.wait_for(hooks.ready(), 60)
            return own.aclose

        yield begin
