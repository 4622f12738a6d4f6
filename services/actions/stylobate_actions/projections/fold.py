"""Events, dealt with in order and written together: each once, whatever is killed when."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from stylobate.api.state.v1 import projection_service_pb2 as pb
from stylobate.batching import Batcher
from stylobate.errors import StylobateError
from stylobate.modules.view import View, ViewObject
from stylobate.outbox.event import Event, LoggedEvent

MOST_CHANGES = 50
"""In one write."""
_MANY = 8
"""Events for which what they need is read beforehand."""
_MOST_KEYS = 500
_KEPT = 2000
_KEPT_BYTES = 16 << 20
_TIMEOUT_S = 10.0

Method = Callable[[View, Event], Awaitable[None]]
"""Runs the method of a module on one event, within its time."""


class TooManyChangesError(Exception):
    """The method changes more objects for one event than can be written together."""

    def __init__(self, count: int) -> None:
        super().__init__(f"changes {count} objects for one event; at most {MOST_CHANGES} can be written together")


@dataclass(frozen=True, slots=True)
class Failure:
    """An event that the method does not deal with."""

    event: LoggedEvent
    error: Exception


@dataclass(frozen=True, slots=True)
class Folded:
    """How far it came."""

    numbers: dict[int, int]
    """By partition: every event up to this one is dealt with."""
    failure: Failure | None = None
    """What is in the way of the next."""


class Fold:
    """One generation of one projection. Of its objects those are kept that were read or written last."""

    def __init__(self, name: str, generation: int, service: Any, method: Method) -> None:
        """Use the stub of ProjectionService."""
        self._name = name
        self._generation = generation
        self._service = service
        self._method = method
        self._numbers: dict[str, dict[int, int]] = {}
        """What is applied, by tenant and partition. Such events must not meet the objects that later ones have made."""
        self._kept: dict[tuple[str, str], ViewObject] = {}
        self._bytes = 0

    async def apply(self, events: Sequence[LoggedEvent]) -> Folded:
        """Deal with events of one tenant in order, as far as they can be written together.

        What others wrote meanwhile is seen and done again. Returns when something was written, or where nothing can be.

        :raises StylobateError: the state service does not answer, or refuses a key or what is to be written; nothing was.
            PROJECTION_REBUILT: another generation has begun.
        """
        tenant = events[0].event.tenant
        try:
            numbers = await self._applied(tenant)
            new = [logged for logged in events if logged.number > numbers.get(logged.partition, 0)]
            passed = {logged.partition: logged.number for logged in events if logged.number <= numbers.get(logged.partition, 0)}
            if not new:
                return Folded(passed)
            if len(new) >= _MANY:
                await self._foresee(new)
            changed, done, failure = await self._fold(new)
            outcome = await self._write(changed, done) if done else None
        except StylobateError:
            self._forget()  # it may have been written
            raise
        if failure is not None or (outcome is not None and not outcome.applied):
            self._forget()  # another process may have written: what was read counts no more
        if outcome is None:
            return Folded(passed, failure)
        if outcome.applied and failure is None:
            numbers.update(outcome.numbers)
            for key, one in changed.items():
                self._keep((tenant, key), ViewObject(0, None) if one.data is None else replace(one, version=one.version + 1))
        return Folded(passed | dict(outcome.numbers), failure if outcome.applied else None)

    async def _applied(self, tenant: str) -> dict[int, int]:
        if tenant not in self._numbers:
            request = pb.ReadProgressRequest(name=self._name, generation=self._generation, tenant=tenant)
            answer = await self._service.ReadProgress(request, timeout=_TIMEOUT_S)
            self._numbers[tenant] = dict(answer.numbers)
        return self._numbers[tenant]

    async def _foresee(self, events: Sequence[LoggedEvent]) -> None:
        """Read in a few calls what the method will ask for: it is run on all events at once; what comes of that is dropped."""
        tenant = events[0].event.tenant
        async with Batcher[str, ViewObject](partial(self._read, tenant), max_size=_MOST_KEYS, in_flight=1) as reads:

            async def load(key: str) -> ViewObject:
                if (tenant, key) not in self._kept:
                    self._keep((tenant, key), await reads.submit(key))
                return self._kept[tenant, key]

            runs = (self._method(View(load), logged.event) for logged in events)
            await asyncio.gather(*runs, return_exceptions=True)  # what fails will fail again, in its turn

    async def _fold(self, events: Sequence[LoggedEvent]) -> tuple[dict[str, ViewObject], list[LoggedEvent], Failure | None]:
        """Run the method on one event after the other; return what they change, which went well, and what did not."""
        tenant = events[0].event.tenant
        unread: list[Exception] = []

        async def load(key: str) -> ViewObject:
            if (tenant, key) not in self._kept:
                try:
                    (one,) = await self._read(tenant, [key])
                    self._keep((tenant, key), one)
                except StylobateError as error:
                    unread.append(error)
                    raise
            return self._kept[tenant, key]

        changed: dict[str, ViewObject] = {}
        for count, logged in enumerate(events):
            view = View(load, changed)
            try:
                await self._method(view, logged.event)
                if unread:
                    raise unread[0]  # though the method went on without it
                if len(view.changed) > MOST_CHANGES:
                    if count:
                        return changed, [*events[:count]], None  # it begins the next write
                    raise TooManyChangesError(len(view.changed))
            except Exception as error:  # whatever the module raises, the events before it went well
                if unread:
                    raise unread[0] from error
                return changed, [*events[:count]], Failure(logged, error)
            changed = view.changed
        return changed, [*events], None

    async def _read(self, tenant: str, keys: Sequence[str]) -> list[ViewObject]:
        request = pb.ReadViewsRequest(name=self._name, generation=self._generation, tenant=tenant, keys=keys)
        views = (await self._service.ReadViews(request, timeout=_TIMEOUT_S)).views
        return [ViewObject(view.version, view.data if view.HasField("data") else None, view.owner) for view in views]

    async def _write(self, changed: dict[str, ViewObject], done: Sequence[LoggedEvent]) -> pb.ApplyEventsResponse:
        ranges: dict[int, tuple[int, int]] = {}
        for logged in done:
            first, _ = ranges.get(logged.partition, (logged.number, 0))
            ranges[logged.partition] = first, logged.number
        changes = [
            pb.ViewChange(key=key, expected_version=one.version, data=one.data, owner=one.owner)
            for key, one in changed.items()
            if one.version or one.data is not None
        ]
        if not changes:  # to be dealt with again would change nothing
            return pb.ApplyEventsResponse(numbers={partition: last for partition, (_, last) in ranges.items()}, applied=True)
        request = pb.ApplyEventsRequest(
            name=self._name,
            generation=self._generation,
            tenant=done[0].event.tenant,
            events=[pb.EventRange(partition=partition, first=first, last=last) for partition, (first, last) in ranges.items()],
            changes=changes,
            depth=max(logged.event.depth for logged in done),
        )
        response: pb.ApplyEventsResponse = await self._service.ApplyEvents(request, timeout=_TIMEOUT_S)
        return response

    def _keep(self, place: tuple[str, str], one: ViewObject) -> None:
        """Remember an object, the newest last, within the bounds."""
        if (before := self._kept.pop(place, None)) is not None:
            self._bytes -= len(before.data or b"")
        self._kept[place] = one
        self._bytes += len(one.data or b"")
        while len(self._kept) > 1 and (len(self._kept) > _KEPT or self._bytes > _KEPT_BYTES):
            oldest = next(iter(self._kept))
            self._bytes -= len(self._kept.pop(oldest).data or b"")

    def _forget(self) -> None:
        self._kept, self._bytes, self._numbers = {}, 0, {}
