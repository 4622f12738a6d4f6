"""EventService as a reader elsewhere sees it: through the generated stub, with errors as they cross."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from stylobate.api.events.v1.event_service_pb2 import LoggedEvent, ReadEventsRequest
from stylobate.api.events.v1.event_service_pb2_grpc import EventServiceStub, add_EventServiceServicer_to_server
from stylobate.outbox import EventServicer
from stylobate.rpc import CallerChannel, LocalChannel, LocalServer, Servicers
from stylobate.rpc.interceptors import CallInterceptor


@asynccontextmanager
async def served(servicer: EventServicer) -> AsyncIterator[EventServiceStub]:
    """Give a stub that calls the servicer the way every service does."""
    servicers = Servicers([CallInterceptor()])
    servicers.register(add_EventServiceServicer_to_server, servicer)
    server = LocalServer(servicers)
    await server.start()
    try:
        yield EventServiceStub(CallerChannel(LocalChannel(server), None))
    finally:
        await server.stop()


class Stream:
    """One open stream of the log `test`."""

    def __init__(self, stub: EventServiceStub, **request: Any) -> None:
        self._call = stub.ReadEvents(ReadEventsRequest(**{"source": "test", **request}))
        self.position = ""

    async def begin(self) -> str:
        """Take the first message and return where the stream begins."""
        message = await self._message()
        assert not message.events
        return self.position

    async def take(self, count: int) -> list[LoggedEvent]:
        """Take messages until ``count`` events have come."""
        events: list[LoggedEvent] = []
        while len(events) < count:
            events += (await self._message()).events
        assert len(events) == count
        return events

    async def _message(self) -> Any:
        message = await asyncio.wait_for(self._call.read(), 60)
        self.position = message.position
        return message

    def close(self) -> None:
        """Give it up."""
        self._call.cancel()
