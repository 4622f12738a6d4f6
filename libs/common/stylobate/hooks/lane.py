"""One hook on one partition: its events one at a time, in order, each until it is dealt with."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

import grpc

from stylobate.errors import StylobateError, UnavailableError
from stylobate.hooks.hook import MAX_ATTEMPTS, Hook
from stylobate.hooks.store import HookStore, Move, Place, Progress
from stylobate.logs import get_logger
from stylobate.outbox import LoggedEvent
from stylobate.resilience import backoff
from stylobate.rpc import HookRecursionError
from stylobate.rpc.call import MAX_HOOK_DEPTH
from stylobate.telemetry import counter

_CAPACITY = 64
_log = get_logger("app")


class OvertakenError(Exception):
    """Another process holds the lease by now; this one must stop."""


class Mover(Protocol):
    """Moves positions on; many at once share a statement (a Batcher over :meth:`HookStore.move`)."""

    def submit(self, item: Move) -> Awaitable[bool]:
        """Move one on; False when a newer lease has taken over."""


class Lane:
    """Runs a hook's events of one partition: first the run, then the move of the position (at least once)."""

    def __init__(
        self,
        hook: Hook,
        place: Place,
        progress: Progress,
        *,
        store: HookStore,
        mover: Mover,
        retries: Callable[[], Iterator[float]],
    ) -> None:
        self.place = place
        self.number = progress.number
        """The position as stored."""
        self.is_running = False
        self.is_blocked = False
        """Whether an event was turned away for want of room."""
        self._hook = hook
        self._attempts = progress.attempts
        self._is_waiting = False
        self._store = store
        self._mover = mover
        self._retries = retries
        self._events: deque[LoggedEvent] = deque()
        runs = counter("hook_runs", "Runs of durable hooks, by how they ended.", ("hook", "outcome"))
        self._counts = {outcome: runs.labels(hook.name, outcome) for outcome in ("done", "failed", "unavailable", "dead")}

    def offer(self, logged: LoggedEvent) -> bool:
        """Take the next event; False when there is no room."""
        if len(self._events) >= _CAPACITY:
            self.is_blocked = True
            return False
        self._events.append(logged)
        return True

    @property
    def pending(self) -> int:
        """How many events wait or are under way."""
        return len(self._events)

    @property
    def age_s(self) -> float:
        """The age of the oldest event not dealt with; 0 when there is none."""
        return (datetime.now(UTC) - self._events[0].event.time).total_seconds() if self._events else 0.0

    async def run(self, on_room: Callable[[], None]) -> None:
        """Deal with what was taken, until nothing is left.

        :param on_room: called when there is room again after an event was turned away.
        :raises OvertakenError: when another process goes on with it.
        """
        while self._events:
            await self._deal_with(self._events[0])
            self._events.popleft()
            if self.is_blocked and len(self._events) <= _CAPACITY // 2:
                self.is_blocked = False
                on_room()

    async def skip_to(self, number: int) -> None:
        """Move the position over events that do not concern the hook; only while the lane is idle."""
        if await self._mover.submit(Move(self.place, number)):
            self.number = max(self.number, number)

    async def _deal_with(self, logged: LoggedEvent) -> None:
        if logged.event.depth + 1 >= MAX_HOOK_DEPTH:
            await self._bury(logged, HookRecursionError())
            return
        outages, failures = backoff(initial=0.05, maximum=1.0), self._retries()
        while (error := await self._attempt(logged)) is not None:
            if isinstance(error, StylobateError) and error.code is grpc.StatusCode.UNAVAILABLE:
                self._wait_for(logged, error)
                await asyncio.sleep(next(outages))
                continue
            self._attempts += 1
            self._counts["failed"].inc()
            self._tell(logged, error)
            if self._attempts >= MAX_ATTEMPTS:
                await self._bury(logged, error)
                return
            await self._surely(partial(self._store.failed, self.place, self._attempts))
            await asyncio.sleep(next(failures))
        self._counts["done"].inc()
        self._is_waiting = False
        await self._surely(partial(self._mover.submit, Move(self.place, logged.number)))
        self.number, self._attempts = logged.number, 0

    async def _attempt(self, logged: LoggedEvent) -> BaseException | None:
        """Run the hook once and return what it raised."""
        try:
            async with asyncio.timeout(self._hook.timeout.total_seconds()):
                await self._hook.callback(logged.event)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return error  # the hook cancelled itself: one more way to fail
        except Exception as error:  # noqa: BLE001  whatever a hook raises is its failure, not ours
            return error
        return None

    async def _bury(self, logged: LoggedEvent, error: BaseException) -> None:
        text = f"{type(error).__name__}: {error}".replace("\0", "\ufffd")
        attempts = self._attempts
        await self._surely(partial(self._store.bury, self.place, logged, attempts, text))
        self._counts["dead"].inc()
        self.number, self._attempts = logged.number, 0
        event = logged.event
        _log.error("hook_dead_letter", hook=self._hook.name, event_id=event.id, type=event.type, error=text, attempts=attempts)

    async def _surely(self, change: Callable[[], Awaitable[bool]]) -> None:
        """Make the change however long our own database takes to come back. Raises OvertakenError."""
        for pause in backoff(maximum=1.0):
            try:
                if not await change():
                    raise OvertakenError(self.place)
                return
            except UnavailableError as error:
                _log.warning("hook_position_waits", hook=self._hook.name, error=str(error))
            await asyncio.sleep(pause)

    def _wait_for(self, logged: LoggedEvent, error: StylobateError) -> None:
        self._counts["unavailable"].inc()
        if not self._is_waiting:
            _log.warning("hook_waits", hook=self._hook.name, event_id=logged.event.id, error=f"{error.reason}: {error}")
        self._is_waiting = True

    def _tell(self, logged: LoggedEvent, error: BaseException) -> None:
        known = isinstance(error, (StylobateError, TimeoutError))
        _log.warning(
            "hook_failed",
            hook=self._hook.name,
            event_id=logged.event.id,
            type=logged.event.type,
            attempt=self._attempts,
            error=f"{type(error).__name__}: {error}",
            exc_info=None if known or self._attempts > 1 else error,
        )
