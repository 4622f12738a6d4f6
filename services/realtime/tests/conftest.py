"""A node to test: real tokens, a real state contract over the local channel, a real server, unmodified SDK clients."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import centrifuge
import pytest
from stylobate_realtime.broker import Broker
from stylobate_realtime.presence import Presence
from stylobate_realtime.settings import RealtimeSettings

from .clients import Person, Watch
from .memory_broker import MemoryBroker
from .nodes import Node, Stage, serve_node
from .platform import Platform, open_platform


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    """Give what nodes share."""
    async with open_platform() as platform:
        yield platform


Serve = Callable[..., Any]


@pytest.fixture
def serve(platform: Platform) -> Serve:
    """Give a maker of nodes on the memory broker; each is an async context manager."""

    def make(
        *, port: int = 0, http: str = "httptools", broker: Broker | None = None, presence: Presence | None = None, **settings: Any
    ) -> Any:
        broker = broker or MemoryBroker(platform.bus)
        return serve_node(platform, RealtimeSettings(**settings), broker, presence or platform.presence, port=port, http=http)

    return make


@pytest.fixture
async def node(serve: Serve) -> AsyncIterator[Node]:
    """Give one node."""
    async with serve() as node:
        yield node


Connect = Callable[..., Awaitable[Person]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Give a maker of SDK clients; they disconnect after the test."""
    people: list[Person] = []

    async def make(url: str, token: str, *, wait: bool = True, **options: Any) -> Person:
        watch = Watch()
        person = Person(centrifuge.Client(url, events=watch, token=token, **options), watch)
        people.append(person)
        await person.client.connect()
        if wait:
            await watch.wait("connected")
        return person

    yield make
    for person in people:
        await person.client.disconnect()


@pytest.fixture
async def staged(platform: Platform) -> AsyncIterator[Callable[..., Stage]]:
    """Give a maker of stages."""
    stages: list[Stage] = []

    def make(broker: Broker | None = None, **settings: Any) -> Stage:
        stages.append(Stage(platform, broker or MemoryBroker(platform.bus), RealtimeSettings(**settings)))
        return stages[-1]

    yield make
    for stage in stages:
        await stage.manager.close()


@pytest.fixture
async def stage(staged: Callable[..., Stage]) -> Stage:
    """Give one stage."""
    return staged()
