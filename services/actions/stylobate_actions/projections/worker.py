"""The events on their way into a projection: those of a partition in their order, and none is passed over."""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from stylobate.errors import StylobateError, UnavailableError
from stylobate.hooks.runs import text_of
from stylobate.logs import get_logger
from stylobate.outbox.event import LoggedEvent
from stylobate.resilience import backoff
from stylobate.stopping import goes_on
from stylobate.telemetry import counter

from stylobate_actions.projections.fold import Failure, Fold

REBUILT = "PROJECTION_REBUILT"
_AT_ONCE = 100
_ROOM = 1000
_ROOM_BYTES = 32 << 20
"""Of events that are held and not dealt with."""
_LONGEST_PAUSE_S = 30.0
_NEXT_TO_ANOTHER_S = 0.05
_log = get_logger("app")


class Worker:
    """Deals with events, as many together as are there and can be written together.

    One that the method refuses is tried again and again; what comes behind it in its partition waits, the other partitions go on.
    """

    def __init__(self, name: str, fold: Fold, numbers: Sequence[int]) -> None:
        """Begin behind these numbers, one for each partition."""
        self._name = name
        self._fold = fold
        self._waiting: deque[LoggedEvent] = deque()
        self._bytes = 0
        self._passed = list(numbers)
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._failures: dict[int, Failure] = {}
        self._pauses: dict[int, Iterator[float]] = {}
        self._standing: set[int] = set()
        """Partitions that are not tried at the moment."""
        self._most = _AT_ONCE
        events = counter("projection_events", "Events that projections have dealt with.", ("projection",))
        self._count = events.labels(name).inc

    @property
    def numbers(self) -> list[int]:
        """By partition: every event up to this one is dealt with, or none of ours."""
        numbers = list(self._passed)
        for logged in reversed(self._waiting):
            numbers[logged.partition] = logged.number - 1
        return numbers

    @property
    def pending(self) -> int:
        """How many events it holds."""
        return len(self._waiting)

    @property
    def age_s(self) -> float:
        """The age of the oldest event that it holds; 0 where there is none."""
        return (datetime.now(UTC) - self._waiting[0].event.time).total_seconds() if self._waiting else 0.0

    @property
    def error(self) -> str:
        """What is in the way, for whoever operates it; empty where nothing is."""
        return next(map(_said, self._failures.values()), "")

    async def offer(self, event: LoggedEvent) -> None:
        """Take an event, as soon as there is room."""
        await self._room.wait()
        self._waiting.append(event)
        self._bytes += len(event.event.data)
        self._passed[event.partition] = event.number
        self._more.set()
        self._look_for_room()

    def skip_to(self, numbers: Sequence[int]) -> None:
        """Note that up to these numbers everything was offered."""
        self._passed = list(map(max, self._passed, numbers))

    async def run(self) -> None:
        """Deal with what comes, forever. Raises PROJECTION_REBUILT."""
        outage = backoff(maximum=_LONGEST_PAUSE_S)
        while goes_on():
            await self._more.wait()
            events = self._next()
            if not events:  # all that is there stands behind what failed
                self._more.clear()
                continue
            try:
                folded = await self._fold.apply(events)
            except UnavailableError:
                await asyncio.sleep(next(outage))
                continue
            except StylobateError as error:
                if error.reason == REBUILT:
                    raise
                self._refused(events, error)
                continue
            outage = backoff(maximum=_LONGEST_PAUSE_S)
            dealt_with = self._drop(folded.numbers)
            if dealt_with:  # about as many next time as could be written together
                self._most = min(_AT_ONCE, 2 * self._most if dealt_with >= len(events) else dealt_with + 1)
            if folded.failure is not None:
                self._stand(folded.failure)
            elif not dealt_with:  # another process is at it too
                await asyncio.sleep(_NEXT_TO_ANOTHER_S)

    def _next(self) -> list[LoggedEvent]:
        """Return the next events that can go together: of one tenant, each partition's in order, without those that stand."""
        events: list[LoggedEvent] = []
        left = set(self._standing)
        for logged in self._waiting:
            if logged.partition in left:
                continue
            if events and logged.event.tenant != events[0].event.tenant:
                left.add(logged.partition)
                continue
            events.append(logged)
            if len(events) == self._most:
                break
        return events

    def _refused(self, events: Sequence[LoggedEvent], error: StylobateError) -> None:
        """Find out which event it is that makes what the state service refuses: by fewer at a time."""
        if len(events) > 1:
            self._most = len(events) // 2
        else:
            self._stand(Failure(events[0], error))

    def _stand(self, failure: Failure) -> None:
        """Let a partition stand for a while, longer each time."""
        partition = failure.event.partition
        if partition not in self._failures:
            _log.error("projection_stands", projection=self._name, error=_said(failure), exc_info=failure.error)
            self._failures[partition] = failure
            self._pauses[partition] = backoff(maximum=_LONGEST_PAUSE_S)
        self._standing.add(partition)
        asyncio.get_running_loop().call_later(next(self._pauses[partition]), self._go_on, partition)

    def _go_on(self, partition: int) -> None:
        self._standing.discard(partition)
        self._more.set()

    def _drop(self, numbers: Mapping[int, int]) -> int:
        """Forget events up to these numbers, and return how many."""
        left = deque(logged for logged in self._waiting if logged.number > numbers.get(logged.partition, 0))
        dropped = len(self._waiting) - len(left)
        self._count(dropped)
        self._waiting = left
        self._bytes = sum(len(logged.event.data) for logged in left)
        for partition, failure in list(self._failures.items()):
            if failure.event.number <= numbers.get(partition, 0):
                del self._failures[partition]
        if not left:
            self._more.clear()
        self._look_for_room()
        return dropped

    def _look_for_room(self) -> None:
        if len(self._waiting) < _ROOM and self._bytes < _ROOM_BYTES:
            self._room.set()
        else:
            self._room.clear()


def _said(failure: Failure) -> str:
    event = failure.event.event
    return f"{event.type} {event.id} of {event.subject}: {text_of(failure.error)}"
