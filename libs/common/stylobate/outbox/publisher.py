"""Live copies of events on Redis pub/sub: for whoever wants to know at once. The log never waits for them."""

import asyncio
from collections.abc import Sequence

from stylobate.errors import UnavailableError
from stylobate.logs import get_logger
from stylobate.outbox.event import Event, LoggedEvent
from stylobate.redis import RedisManager
from stylobate.stopping import goes_on
from stylobate.telemetry import counter

CHANNEL = "hooks:"
"""Before the event's type in the name of its channel."""

_WAITING = 64
"""Batches that may wait for Redis. What comes on top has no live copy; its readers find it at their next look."""
_log = get_logger("app")


class LivePublisher:
    """Publishes a copy of each event on ``hooks:<type>``, in the order of the log, at most once."""

    def __init__(self, redis: RedisManager, source: str) -> None:
        self._redis = redis
        self._waiting: asyncio.Queue[Sequence[LoggedEvent]] = asyncio.Queue(_WAITING)
        copies = counter("outbox_live_copies_total", "Live copies of events, by what became of them.", ("source", "outcome"))
        self._published = copies.labels(source, "published")
        self._lost = copies.labels(source, "lost")
        self._is_losing = False

    def offer(self, events: Sequence[LoggedEvent]) -> None:
        """Take events that were numbered; never waits."""
        try:
            self._waiting.put_nowait(events)
        except asyncio.QueueFull:
            self._lost.inc(len(events))

    async def run(self) -> None:
        """Publish what was offered, forever."""
        while goes_on():
            await self._publish([logged.event for logged in await self._waiting.get()])

    async def _publish(self, events: Sequence[Event]) -> None:
        """Publish a batch: the commands leave together, in the order of the events."""
        faults = await self._redis.publish_all([(CHANNEL + event.type, event.json()) for event in events])
        for fault in faults:
            if not isinstance(fault, UnavailableError):
                raise fault
        self._published.inc(len(events) - len(faults))
        self._lost.inc(len(faults))
        if faults and not self._is_losing:
            _log.warning("live_copies_lost", events=len(faults), error=str(faults[0]))
        self._is_losing = bool(faults)
