"""The runs of one durable hook: made, judged, counted, told."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from stylobate.errors import StylobateError, UnavailableError
from stylobate.hooks.hook import Hook
from stylobate.logs import get_logger
from stylobate.outbox import Event, LoggedEvent
from stylobate.resilience import backoff
from stylobate.stopping import check_cancelled
from stylobate.telemetry import counter

_log = get_logger("app")


class OvertakenError(Exception):
    """Another process holds the lease by now; this one must stop."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how long one event is tried."""

    retries: Callable[[], Iterator[float]] = backoff
    """Gives the pauses, in seconds, between the attempts of one event."""
    outage_limit: timedelta = timedelta(hours=24)
    """How long an event is tried while what the hook needs is away; then it is a dead letter."""
    aside_after: timedelta = timedelta(seconds=1)
    """A run that takes longer lets the other subjects of its partition go on."""


class Runs:
    """Runs a hook on one event at a time."""

    def __init__(self, hook: Hook, patience: Patience) -> None:
        self.hook = hook
        self.patience = patience
        runs = counter("hook_runs", "Runs of durable hooks, by how they ended.", ("hook", "outcome"))
        self._counts = {outcome: runs.labels(hook.name, outcome) for outcome in ("done", "failed", "unavailable", "dead")}

    async def once(self, event: Event) -> BaseException | None:
        """Run the hook once and return what it raised."""
        try:
            async with asyncio.timeout(self.hook.timeout.total_seconds()):
                await self.hook.callback(event)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return error  # the hook cancelled itself: one more way to fail
        except Exception as error:  # noqa: BLE001  whatever a hook raises is its failure, not ours
            return error
        return None

    def done(self) -> None:
        """Count a run that went well."""
        self._counts["done"].inc()

    def failed(self, event: Event, error: BaseException, attempt: int) -> None:
        """Count and tell a run that failed."""
        self._counts["failed"].inc()
        known = isinstance(error, (StylobateError, TimeoutError))
        _log.warning(
            "hook_failed",
            hook=self.hook.name,
            event_id=event.id,
            type=event.type,
            attempt=attempt,
            error=text_of(error),
            exc_info=None if known or attempt > 1 else error,
        )

    def waits(self, event: Event, error: BaseException, *, is_first: bool) -> None:
        """Count a run whose target was away, and tell the first of a row."""
        self._counts["unavailable"].inc()
        if is_first:
            _log.warning("hook_waits", hook=self.hook.name, event_id=event.id, error=text_of(error))

    def dead(self, logged: LoggedEvent, error: BaseException, attempts: int) -> None:
        """Count and tell an event that is given up."""
        self._counts["dead"].inc()
        event = logged.event
        _log.error(
            "hook_dead_letter",
            hook=self.hook.name,
            event_id=event.id,
            type=event.type,
            partition=logged.partition,
            number=logged.number,
            error=text_of(error),
            attempts=attempts,
        )

    async def surely(self, change: Callable[[], Awaitable[bool]]) -> None:
        """Make a change however long our own database takes to come back. Raises OvertakenError when it says False."""
        for pause in backoff(maximum=1.0):
            check_cancelled()
            try:
                if not await change():
                    raise OvertakenError(self.hook.name)
                return
            except UnavailableError as error:
                _log.warning("hook_position_waits", hook=self.hook.name, error=str(error))
            await asyncio.sleep(pause)


def text_of(error: BaseException) -> str:
    """Return the failure as a line that the database and the log can hold."""
    reason = f"{error.reason}: " if isinstance(error, StylobateError) else ""
    return f"{type(error).__name__}: {reason}{error}".replace("\0", "\ufffd")
