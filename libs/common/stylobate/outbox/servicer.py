"""EventService: the logs of the services hosted in this process, as server streams."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, ClassVar, Self

from stylobate.api.events.v1.event_service_pb2 import (
    START_EARLIEST,
    ListLogsRequest,
    ListLogsResponse,
    Log,
    ReadEventsRequest,
    ReadEventsResponse,
)
from stylobate.api.events.v1.event_service_pb2 import (
    LoggedEvent as LoggedEventMessage,
)
from stylobate.api.events.v1.event_service_pb2_grpc import EventServiceServicer as GeneratedServicer
from stylobate.errors import InvalidInputError, Violation
from stylobate.outbox.event import PARTITIONS
from stylobate.outbox.pattern import EventPattern
from stylobate.outbox.port import EventLog, LogPage
from stylobate.outbox.position import Position
from stylobate.outbox.publisher import CHANNEL
from stylobate.outbox.watch import LogWatch
from stylobate.redis import RedisManager
from stylobate.rpc import RpcAccess
from stylobate.stopping import goes_on

_LIMIT = 256
"""Events in one read."""
_MESSAGE_BYTES = 1 << 20
"""About how large one message of the stream may get; a single larger event goes alone."""
_QUIET = timedelta(seconds=5)


class EventServicer(GeneratedServicer):
    """Serves every log of the process; a request names one by its source.

    Delivery: each event after the position, in order per subject, for as long as the stream is open. A reader that keeps
    the position of what it has dealt with and comes back with it misses nothing.
    """

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = dict.fromkeys(("ReadEvents", "ListLogs"), RpcAccess.SERVICE)

    def __init__(self, watch: LogWatch, quiet: timedelta = _QUIET) -> None:
        """Serve what the watch watches.

        :param quiet: how long a reader whose types do not occur goes without being told how far its log was read.
        """
        self._watch = watch
        self._quiet_s = quiet.total_seconds()

    @classmethod
    @asynccontextmanager
    async def open(cls, redis: RedisManager, logs: Sequence[EventLog] = ()) -> AsyncIterator[Self]:
        """Serve logs, woken by the live copies in Redis, else by a look (:class:`LogWatch`); more are added with :meth:`add`."""
        watch = LogWatch()
        for log in logs:
            watch.add(log)
        try:
            heard = await redis.subscribe([f"{CHANNEL}*"], lambda _channel, _payload: watch.notify(), on_reconnect=watch.notify)
            try:
                yield cls(watch)
            finally:
                await heard.close()
        finally:
            await watch.close()

    def add(self, log: EventLog, heard: Callable[[], None] | None = None) -> Callable[[], None]:
        """Serve one more log. What is returned says that it has grown, sooner than a live copy comes back from Redis.

        :param heard: is called when a live copy comes.
        """
        return self._watch.add(log, heard)

    async def ListLogs(self, request: ListLogsRequest, context: Any) -> ListLogsResponse:  # noqa: ARG002, N802  the generated signature
        """Name the logs of a service in this process."""
        logs = self._watch.logs(request.service)
        return ListLogsResponse(logs=[Log(source=log.source, types=[kind.text for kind in log.types]) for log in logs])

    async def ReadEvents(self, request: ReadEventsRequest, context: Any) -> AsyncIterator[ReadEventsResponse]:  # noqa: ARG002, N802  the generated signature
        """Read a log from a position on. The first message says where it begins."""
        log = self._watch.log(request.source)
        partitions = _partitions(request.partitions)
        patterns = [EventPattern.parse(text) for text in request.types]
        position = await _start(log, request, partitions)
        yield ReadEventsResponse(position=str(position))
        loop = asyncio.get_running_loop()
        told, told_at = position, loop.time()
        while goes_on():
            left = None if position == told else told_at + self._quiet_s - loop.time()
            moved = await self._watch.beyond(request.source, position, partitions, left)
            page = await log.read(position, moved, patterns, _LIMIT, carried=request.carried) if moved else LogPage([], position)
            for message in _messages(position, page):
                yield message
                told, told_at = page.position, loop.time()
            position = page.position
            if position != told and loop.time() >= told_at + self._quiet_s:
                yield ReadEventsResponse(position=str(position))
                told, told_at = position, loop.time()


def _partitions(asked: Sequence[int]) -> list[int]:
    if any(partition >= PARTITIONS for partition in asked):
        detail = f"a partition is a number from 0 to {PARTITIONS - 1}"
        raise InvalidInputError(violations=[Violation("/partitions", detail)])
    return sorted(set(asked)) or list(range(PARTITIONS))


async def _start(log: EventLog, request: ReadEventsRequest, partitions: Sequence[int]) -> Position:
    if request.position:
        position = Position.parse(request.position)
        await log.check(position, partitions)
        return position
    return await (log.oldest() if request.start == START_EARLIEST else log.head())


def _messages(position: Position, page: LogPage) -> Iterator[ReadEventsResponse]:
    """Give the events of a page in messages of a bounded size; the last one has the position behind the page."""
    message, size, reached = ReadEventsResponse(), 0, position
    for logged in page.events:
        text = logged.event.json()
        if size and size + len(text) > _MESSAGE_BYTES:
            message.position = str(reached)
            yield message
            message, size = ReadEventsResponse(), 0
        reached = reached.advanced({logged.partition: logged.number})
        message.events.append(
            LoggedEventMessage(event=text, partition=logged.partition, number=logged.number, position=str(reached))
        )
        size += len(text)
    if message.events:
        message.position = str(page.position)
        yield message
