"""Which state objects somebody has lost, as state's event log tells it: who could read one need not be able to any more.

One that was deleted may be made again by another, one that was handed over is another's already.
The log and not the live copies in Redis: nothing that was lost while this process or Redis was away is missed.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
from stylobate.api.events.v1.event_service_pb2 import START_LATEST, ReadEventsRequest, ReadEventsResponse
from stylobate.errors import StylobateError
from stylobate.health import Health, Status
from stylobate.logs import get_logger
from stylobate.outbox import Event
from stylobate.outbox.logs import LogName, logs_of
from stylobate.resilience import Interruption, backoff
from stylobate.rpc import from_rpc_error
from stylobate.stopping import goes_on

_TYPES = ("state.*.deleted", "state.*.assigned")
"""An object changes its owner by being deleted and created again, or by being handed over."""
SERVICE = "state"
_LOGS_EVERY_S = 5.0
_log = get_logger("app")

Lost = Callable[[str, str, str], None]
"""Called with tenant, namespace and key."""


class LossFeed:
    """Follows the logs; :meth:`run` must run.

    :param events: a stub of state's EventService.
    :param missed: called when objects may have been lost that were not told: at the start and behind a gap in a log.
    """

    def __init__(self, events: Any, lost: Lost, missed: Callable[[], None]) -> None:
        self._events = events
        self._lost = lost
        self._missed = missed
        self._feeds = {SERVICE: _OneLog(events, SERVICE, lost, missed)}

    async def run(self) -> None:
        """Follow the logs, forever; a further one as soon as there is one."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._feeds[SERVICE].run())
            while goes_on():
                with suppress(StylobateError):  # the feed says so
                    for log in await logs_of(self._events, SERVICE):
                        self._follow(log, group)
                await asyncio.sleep(_LOGS_EVERY_S)

    async def health(self) -> Health:
        """Degraded while losses are not heard of."""
        unread = [source for source, feed in self._feeds.items() if feed.is_unread]
        if not unread:
            return Health()
        said = f"the log of {', '.join(unread)} cannot be read: subscriptions outlive what they were allowed for"
        return Health(Status.DEGRADED, said)

    def _follow(self, log: LogName, group: asyncio.TaskGroup) -> None:
        if log.source not in self._feeds:
            feed = self._feeds[log.source] = _OneLog(self._events, log.source, self._lost, self._missed)
            group.create_task(feed.run())


class _OneLog:
    """Follows one log."""

    def __init__(self, events: Any, source: str, lost: Lost, missed: Callable[[], None]) -> None:
        self._events = events
        self._source = source
        self._lost = lost
        self._missed = missed
        self._position = ""
        self._is_up = False
        self._interruption = Interruption("losses_not_heard")

    async def run(self) -> None:
        """Follow the log, forever; after an interruption from where it stopped."""
        pauses = backoff(initial=0.05, maximum=1.0)
        while goes_on():
            error: StylobateError | None = None
            try:
                await self._follow()
            except StylobateError as fault:
                error = fault
            except grpc.aio.AioRpcError as fault:
                error = from_rpc_error(fault)
            if self._is_up:  # it worked until now: a restart, or a connection that came of age
                self._is_up = False
                pauses = backoff(initial=0.05, maximum=1.0)
            elif error is not None:
                self._note(error)
            await asyncio.sleep(next(pauses))

    @property
    def is_unread(self) -> bool:
        """Whether it has not been heard for a while."""
        return self._interruption.is_lasting

    async def _follow(self) -> None:
        request = ReadEventsRequest(source=self._source, position=self._position, start=START_LATEST, types=_TYPES)
        call = self._events.ReadEvents(request)
        try:
            async for message in call:
                self._take(message)
        finally:
            call.cancel()

    def _take(self, message: ReadEventsResponse) -> None:
        if not self._is_up:
            self._is_up = True
            if self._interruption.over():
                _log.info("losses_heard_again")
        for entry in message.events:
            event = Event.parse(entry.event)
            self._lost(event.tenant, event.type.split(".")[1], event.subject)
        if not self._position:
            self._missed()
        self._position = message.position

    def _note(self, error: StylobateError) -> None:
        if error.code in (grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.INVALID_ARGUMENT):
            self._position = ""  # it lies outside of what the log holds: from its end on, and everything is asked for again
        self._interruption.note(error=f"{error.reason}: {error}")
