"""Firing timers when they are due: of all processes of the service the one with the lease does it."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from itertools import groupby
from operator import attrgetter
from typing import Protocol

from stylobate.clients.state import StateNotFoundError
from stylobate.errors import StylobateError, UnavailableError
from stylobate.health import Health, Status
from stylobate.hooks.runs import text_of
from stylobate.hooks.verdict import Verdict, verdict_on
from stylobate.leases import Lease, LeaseManager
from stylobate.logs import get_logger
from stylobate.resilience import backoff
from stylobate.stopping import goes_on
from stylobate.telemetry import counter

from stylobate_state.errors import StateMovedError
from stylobate_state.model import StateKey, StateRecord, TimerStart
from stylobate_state.namespace import Namespace
from stylobate_state.operation import Fire, TimerGoneError
from stylobate_state.store.timers import DueTimer, DueTimers, TimerStore

LEASE = "state-timers"
_BATCH = 256
_LOOK_S, _LOOK_IDLE_S = 0.5, 5.0
"""How often the queue is looked at. A timer that is set is due after the shortest declared time at the soonest, and two looks are
never further apart than that: none is missed."""
_LATE = timedelta(seconds=30)
_FILL_AT_ONCE = 1000
_FILL_AGAIN = timedelta(minutes=10)
"""After which objects are looked for that a process with older declarations has let in meanwhile."""
_MAX_TRIES = 8
_LONGEST_PAUSE_S = 60
_NOT_DECLARED = timedelta(minutes=1)
_log = get_logger("app")


class Firing(Protocol):
    """What carries out the event of a timer; a StateManager does."""

    async def fire(self, key: StateKey, owner: str, operation: Fire) -> StateRecord:
        """Fire it through the ordinary write path. Raises TimerGoneError where the object does not wait for it."""


class TimerRunner:
    """Fires what is due, in batches, each for exactly the version of the object that waits for it.

    That write ends the timer, so it happens once, however many runners there are and whenever one dies; the lease only
    spares them the work. A refusal that will be the same next time (a guard, a before-hook) spends the timer.
    """

    def __init__(self, store: TimerStore, namespaces: Mapping[str, Namespace], firing: Firing) -> None:
        self._store = store
        self._namespaces = namespaces
        self._firing = firing
        shortest = min(
            (start.after for one in namespaces.values() for starts in one.timers.values() for start in starts), default=None
        )
        self._look_s = max(_LOOK_S, min(_LOOK_IDLE_S, shortest.total_seconds())) if shortest is not None else _LOOK_IDLE_S
        self._is_leading = False
        self._late = timedelta()
        fired = counter("state_timers", "Timers that were due, by what came of them.", ("outcome",))
        self._counts = {outcome: fired.labels(outcome) for outcome in ("fired", "refused", "gone", "put_off")}

    async def run(self, leases: LeaseManager) -> None:
        """Fire timers whenever this process holds the lease, forever."""
        await leases.run(LEASE, self._lead)

    async def health(self, leases: LeaseManager) -> Health:
        """Tell whether timers are fired; a process that stands by is healthy while another one does."""
        metrics = {"leading": float(self._is_leading), "late_seconds": round(self._late.total_seconds(), 3)}
        fault = f"timers are {self._late.total_seconds():.0f} s late" if self._late > _LATE else ""
        if not self._is_leading:
            with suppress(UnavailableError):  # the database's own check says so
                vacancy = await leases.vacancy(LEASE)
                fault = f"nobody fires timers: {vacancy}" if vacancy else ""
        return Health(Status.DEGRADED if fault else Status.HEALTHY, fault, metrics)

    async def fire_due(self) -> DueTimers:
        """Fire a batch of what is due now, and return it."""
        due = await self._store.due(_BATCH)
        self._late = max((timer.late for timer in due.timers if not timer.tries), default=timedelta())
        errors = await asyncio.gather(*map(self._fire, due.timers))
        spent, waiting = list[DueTimer](), dict[timedelta, list[DueTimer]]()
        for timer, error in zip(due.timers, errors, strict=True):
            if error is None:
                self._counts["fired"].inc()
            elif isinstance(error, (TimerGoneError, StateNotFoundError)):
                self._counts["gone"].inc()
                spent.append(timer)
            elif (pause := self._put_off(timer, error)) is not None:
                waiting.setdefault(pause, []).append(timer)
            else:
                spent.append(timer)
        by_namespace = groupby(sorted(spent, key=attrgetter("key")), key=attrgetter("key.namespace"))
        for timers in [list(timers) for _, timers in by_namespace]:  # one that is being moved holds up no other
            try:
                await self._store.spend(timers)
            except StateMovedError:
                waiting.setdefault(_NOT_DECLARED, []).extend(timers)
        for pause, timers in waiting.items():
            await self._store.put_off(timers, pause)
        return due

    async def fill(self) -> None:
        """Give timers that were declared later to the objects that wait already; goes on where it, or another, stopped."""
        for namespace in self._namespaces.values():
            declared = [(status, start) for status, starts in namespace.timers.items() for start in starts]
            await self._store.forget_fills(namespace.name, [(status, start.event) for status, start in declared])
            for status, start in declared:
                with suppress(StateMovedError):  # who has it by now does this
                    await self._fill(namespace.name, status, start)

    async def _fill(self, namespace: str, status: str, start: TimerStart) -> None:
        filled, count = await self._store.fill(namespace, status, start, _FILL_AT_ONCE), 0
        while not filled.is_done:
            count += filled.count
            await asyncio.sleep(0)
            filled = await self._store.fill(namespace, status, start, _FILL_AT_ONCE)
        if count := count + filled.count:
            _log.info("timers_filled", namespace=namespace, status=status, fires=start.event, count=count)

    async def _lead(self, lease: Lease) -> None:
        _log.info("timers_lead", lease=lease.token)
        self._is_leading = True
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_firing())
                group.create_task(self._keep_filling())
        finally:
            self._is_leading, self._late = False, timedelta()

    async def _keep_firing(self) -> None:
        pauses = backoff(maximum=1.0)
        while goes_on():
            try:
                due = await self.fire_due()
            except UnavailableError as error:
                _log.warning("timers_wait", error=str(error))
                await asyncio.sleep(next(pauses))
                continue
            pauses = backoff(maximum=1.0)
            if not due.timers:
                following = due.next_in.total_seconds() if due.next_in is not None else self._look_s
                await asyncio.sleep(min(max(following, 0.001), self._look_s))

    async def _keep_filling(self) -> None:
        while goes_on():
            try:
                await self.fill()
            except UnavailableError as error:
                _log.warning("timers_fill_waits", error=str(error))
                await asyncio.sleep(1)
                continue
            await asyncio.sleep(_FILL_AGAIN.total_seconds())

    async def _fire(self, timer: DueTimer) -> Exception | None:
        if timer.key.namespace not in self._namespaces:
            return UnavailableError("its module is not there", retry_after=_NOT_DECLARED)
        try:
            await self._firing.fire(timer.key, timer.owner, Fire(timer.event, since=timer.since))
        except Exception as error:  # noqa: BLE001  each is weighed by itself
            return error
        return None

    def _put_off(self, timer: DueTimer, error: Exception) -> timedelta | None:
        """Return for how long; None: never again."""
        about = {"namespace": timer.key.namespace, "key": timer.key.key, "fires": timer.event, "error": text_of(error)}
        verdict = verdict_on(error)
        if verdict is Verdict.NEVER or (verdict is Verdict.AGAIN and timer.tries >= _MAX_TRIES):
            self._counts["refused"].inc()
            _log.warning("timer_refused", **about, exc_info=None if isinstance(error, StylobateError) else error)
            return None
        self._counts["put_off"].inc()
        if not timer.tries:
            _log.warning("timer_waits", **about)
        asked = error.retry_after if isinstance(error, StylobateError) and error.retry_after is not None else timedelta()
        return max(asked, timedelta(seconds=min(2 ** min(timer.tries, 10) / 4, _LONGEST_PAUSE_S)))
