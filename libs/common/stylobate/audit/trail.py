"""The audit trail of a service: what must be recorded with a change, and what is noted beside it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from itertools import islice
from time import monotonic
from typing import Generic, Self, TypeVar

from stylobate.audit.port import AuditStore
from stylobate.audit.record import AuditFact, AuditRecord, made_storable
from stylobate.errors import UnavailableError, ValueRefusedError
from stylobate.health import Health, Status
from stylobate.logs import get_logger
from stylobate.resilience import backoff
from stylobate.stopping import end, goes_on
from stylobate.telemetry import counter

_WITHIN = timedelta(milliseconds=500)
_LAST_TRY = timedelta(seconds=3)
_BATCH = 1000
_SAY_AGAIN_S = 5.0
T_contra = TypeVar("T_contra", contravariant=True)
_log = get_logger("audit")


class AuditTrail(Generic[T_contra]):
    """Writes audit records: in a transaction (:meth:`record`), or in batches soon after (:meth:`note`).

    What is noted is written within a second, and before the trail closes. Notes wait in memory up to a bound: while the
    database writes, a caller beyond it waits; while the database is down, its record is dropped, counted and logged.
    """

    def __init__(self, store: AuditStore[T_contra], service: str, *, bound: int = 20_000, within: timedelta = _WITHIN) -> None:
        self._store = store
        self._service = service
        self._bound = bound
        self._within_s = within.total_seconds()
        self._waiting: deque[AuditRecord | AuditFact] = deque()
        self._some = asyncio.Event()
        self._full = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._sent = 0
        """How many at the front were sent, and nobody knows whether they are written: they go together once more."""
        self._is_down = False
        self._dropped = 0
        self._unsaid = 0
        self._said_at = -_SAY_AGAIN_S
        records = counter("audit_records", "Audit records, by what became of them.", ("service", "outcome"))
        self._written_count = records.labels(service, "written")
        self._dropped_count = records.labels(service, "dropped")
        self._waits_count = counter("audit_waits", "Callers that waited for room.", ("service",)).labels(service)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, store: AuditStore[T_contra], service: str, *, bound: int = 20_000, within: timedelta = _WITHIN
    ) -> AsyncIterator[Self]:
        """Give a trail; at the end everything noted is written, or counted and logged as lost after 3 s of trying.

        :param bound: how many notes may wait in memory.
        :param within: how long a note waits for others to share its batch.
        """
        trail = cls(store, service, bound=bound, within=within)
        writing = asyncio.create_task(trail._write_on(), name=f"audit-{service}")
        try:
            yield trail
        finally:
            await end((writing,))
            await trail._finish()

    async def record(self, transaction: T_contra, *records: AuditRecord) -> None:
        """Write records with the caller's transaction: they are kept if and only if the change is."""
        await self._store.insert(
            [*map(made_storable, records)], transaction
        )  # what the database refused would undo the caller's change

    async def note(self, record: AuditRecord | AuditFact) -> None:
        """Leave a record to be written within a second. Waits only when the bound is reached."""
        if not self.leave(record):
            if await self._has_room():
                self.leave(record)
            else:
                self._drop(1)

    def leave(self, record: AuditRecord | AuditFact) -> bool:
        """Do the same where nothing need be waited for, else return False."""
        waiting = len(self._waiting) + 1
        if waiting > self._bound:
            return False
        self._waiting.append(record)
        if waiting == 1:
            self._some.set()
        elif waiting >= _BATCH:
            self._full.set()
        return True

    async def health(self) -> Health:
        """Tell whether records are written; degraded while they only gather."""
        metrics = {"waiting": float(len(self._waiting)), "dropped": float(self._dropped)}
        if self._is_down:
            return Health(Status.DEGRADED, "audit records wait for the database", metrics)
        return Health(metrics=metrics)

    async def _has_room(self) -> bool:
        """Wait until a note fits; False when it does not because the database is down."""
        self._waits_count.inc()
        while len(self._waiting) >= self._bound:
            if self._is_down:
                return False
            self._room.clear()
            await self._room.wait()
        return True

    async def _write_on(self) -> None:
        pauses = backoff(maximum=1.0)
        while goes_on():
            await self._some.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._within_s):
                    await self._full.wait()
            try:
                await self._flush(_BATCH)
            except UnavailableError as error:
                if not self._is_down:
                    _log.warning("audit_waits", service=self._service, error=str(error), waiting=len(self._waiting))
                self._is_down = True
                self._room.set()
                await asyncio.sleep(next(pauses))
            else:
                self._is_down, pauses = False, backoff(maximum=1.0)
                self._say_loss()

    async def _flush(self, fewest: int = 1) -> None:
        """Write what waits, a batch, and more as long as that many wait. What cannot be written now stays, first in the queue.

        :param fewest: what came while a batch was written is often a few, which cost as much as many: these wait for others.
        """
        while self._waiting:
            self._sent = self._sent or min(len(self._waiting), _BATCH)
            batch = [one if isinstance(one, AuditRecord) else one.record() for one in islice(self._waiting, self._sent)]
            for place, record in enumerate(batch):  # with its id: should it be sent again, it is the same record
                self._waiting[place] = record
            await self._write(batch)
            for _ in batch:
                self._waiting.popleft()
            self._sent = 0
            self._room.set()
            if len(self._waiting) < fewest:
                break
        if not self._waiting:
            self._some.clear()
        self._full.clear()

    async def _write(self, batch: list[AuditRecord]) -> None:
        try:
            await self._store.insert(batch)
        except ValueRefusedError:
            if len(batch) == 1:
                await self._write_alone(batch[0])
                return
            middle = len(batch) // 2  # find the one by halves; its neighbours are written as they are
            await self._write(batch[:middle])
            await self._write(batch[middle:])
        else:
            self._written_count.inc(len(batch))

    async def _write_alone(self, record: AuditRecord) -> None:
        try:
            await self._store.insert([made_storable(record)])
        except ValueRefusedError:
            _log.exception("audit_record_refused", service=self._service, action=record.action, actor=record.actor)
            self._drop(1)
        else:
            self._written_count.inc()

    async def _finish(self) -> None:
        """Write what is left, trying for a few seconds."""
        try:
            async with asyncio.timeout(_LAST_TRY.total_seconds()):
                for pause in backoff(maximum=0.5):
                    with suppress(UnavailableError):
                        await self._flush()
                        break
                    await asyncio.sleep(pause)
        except TimeoutError:
            self._drop(len(self._waiting))
            self._waiting.clear()
        self._say_loss()

    def _drop(self, count: int) -> None:
        self._dropped += count
        self._unsaid += count
        self._dropped_count.inc(count)
        if monotonic() - self._said_at >= _SAY_AGAIN_S:
            self._say_loss()

    def _say_loss(self) -> None:
        """Log what was lost since this was last logged: at once, every few seconds while it goes on, and at its end."""
        if self._unsaid:
            _log.error("audit_records_lost", service=self._service, count=self._unsaid)
            self._said_at, self._unsaid = monotonic(), 0
