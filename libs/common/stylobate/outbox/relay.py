"""The relay: from written to published. Of all processes of a service the one with the lease does it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from stylobate.errors import UnavailableError
from stylobate.health import Health, Status
from stylobate.ids import new_id
from stylobate.leases import Lease, LeaseManager
from stylobate.logs import get_logger
from stylobate.outbox.event import LoggedEvent
from stylobate.outbox.pace import Pace
from stylobate.outbox.port import BATCH, EventLog, Numbering
from stylobate.outbox.publisher import LivePublisher
from stylobate.redis import RedisManager
from stylobate.resilience import backoff
from stylobate.stopping import goes_on
from stylobate.telemetry import counter, spreads

LEASE = "outbox-relay"
_LOOK = timedelta(milliseconds=200)
_PRUNE_EVERY = timedelta(minutes=1)
_DELAYS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_log = get_logger("app")


class Relay:
    """Numbers the events of one outbox and publishes a live copy of each.

    Delivery: every committed event gets a number, once, however many relays run and die; then a copy goes out on
    ``hooks:<type>``, at most once: a crash in between loses the copy, never the event. Order: the events of one subject are
    numbered in the order of their commits. :meth:`wake` makes it look at once, in whichever process it runs; beside that it looks
    every 200 ms, once a second after ten quiet seconds.
    """

    def __init__(
        self,
        log: EventLog,
        numbering: Numbering,
        leases: LeaseManager,
        redis: RedisManager,
        *,
        retention: timedelta | None = None,
        on_numbered: Callable[[], None] = lambda: None,
        on_events: Callable[[Sequence[LoggedEvent]], None] = lambda _events: None,
        look_every: timedelta = _LOOK,
    ) -> None:
        """Keep the parts.

        :param retention: published events older than this are removed, about once a minute; None: none ever.
        :param on_numbered: called when the log has grown, such as what ``EventServicer.add`` returns.
        :param on_events: gets the events that were numbered, in the order of each partition; must not block.
        :param look_every: how long an event waits that nobody announces (its writer died after the commit); see :class:`Pace`.
        """
        self._log = log
        self._leases = leases
        source = self._source = log.source
        self._retention = retention
        self._on_numbered = on_numbered
        self._pace = Pace(look_every.total_seconds())
        self._on_events = on_events
        self._numbering = numbering
        self._publisher = LivePublisher(redis, source)
        self._due = asyncio.Event()
        self._tell = asyncio.Event()
        self._is_leading = False
        self._fault = ""
        self._count = counter("outbox_events_numbered", "Events that got their place in the log.", ("source",)).labels(source)
        self._epochs = counter("outbox_epochs", "Times that the log was found taken back.", ("source",)).labels(source)
        self._delay = spreads("outbox_numbering_delay_seconds", "From an event's time to its number.", ("source",), _DELAYS).of(
            source
        )

    def wake(self) -> None:
        """Say that events were committed. Cheap, and never waits: call it after every commit with events."""
        if self._is_leading:
            self._due.set()
        else:
            self._tell.set()

    async def run(self) -> None:
        """Relay whenever this process holds the lease, forever."""
        async with self._numbering.listen(self._due.set), asyncio.TaskGroup() as group:
            group.create_task(self._publisher.run())
            group.create_task(self._pass_on())
            group.create_task(self._leases.run(LEASE, self._lead))

    async def health(self) -> Health:
        """Tell whether the log grows; a process that stands by is healthy while another one relays."""
        metrics = {"leading": float(self._is_leading)}
        fault = self._fault
        if not fault and not self._is_leading:
            with suppress(UnavailableError):  # the database's own check says so
                vacancy = await self._leases.vacancy(LEASE)
                fault = f"nobody relays: {vacancy}" if vacancy else ""
        return Health(Status.DEGRADED if fault else Status.HEALTHY, fault, metrics)

    async def _pass_on(self) -> None:
        """Wake the relay of another process. What is asked for while that is under way goes along in the next."""
        while goes_on():
            await self._tell.wait()
            self._tell.clear()
            with suppress(UnavailableError):  # the other looks by itself
                await self._numbering.tell()

    async def _lead(self, lease: Lease) -> None:
        if not await self._numbering.claim(lease.token):
            self._fault = f"the ends of the log belong to a newer lease than {lease.token}: trying with the next one"
            return
        await self._settle(lease)
        self._fault = ""
        _log.info("relay_leads", source=self._source, lease=lease.token)
        self._is_leading = True
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._number(lease))
                if self._retention is not None:
                    group.create_task(self._prune(self._retention))
        finally:
            self._is_leading, self._fault = False, ""

    async def _number(self, lease: Lease) -> None:
        pauses, ends = backoff(maximum=1.0), dict[int, int]()
        while goes_on():
            self._due.clear()
            try:
                numbered = await self._numbering.number(lease.token)
                if numbered is None:
                    ends.clear()
                    await self._settle(lease)
                    continue
                await self._look_back(lease, numbered, ends)
            except UnavailableError as error:
                if not self._fault:
                    _log.warning("relay_waits", source=self._source, error=str(error))
                self._fault = f"the database does not answer: {error}"
                await asyncio.sleep(next(pauses))
                continue
            self._fault, pauses = "", backoff(maximum=1.0)
            if numbered:
                self._published(numbered)
            if len(numbered) < BATCH:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._pace.pause_s):
                        await self._due.wait()

    async def _settle(self, lease: Lease) -> None:
        """Note which database this is; begin an epoch when it is not the one that it was."""
        if epoch := await self._numbering.settle(lease.token, new_id()):
            self._begun(epoch, "another database, or another timeline of it")

    async def _look_back(self, lease: Lease, numbered: Sequence[LoggedEvent], ends: dict[int, int]) -> None:
        """Begin an epoch when numbers come a second time: rows were taken back under our feet."""
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for logged in numbered:  # rising in each partition
            first.setdefault(logged.partition, logged.number)
            last[logged.partition] = logged.number
        again = {partition: number - 1 for partition, number in first.items() if number <= ends.get(partition, 0)}
        ends |= last
        if again:
            epoch = new_id()
            if await self._numbering.begin(epoch, "numbers came a second time", token=lease.token, starts=again):
                self._begun(epoch, "numbers came a second time")

    def _begun(self, epoch: str, why: str) -> None:
        self._epochs.inc()
        _log.error("log_epoch_begun", source=self._source, epoch=epoch, why=why)
        self._on_numbered()

    def _published(self, numbered: Sequence[LoggedEvent]) -> None:
        self._pace.saw_something()
        self._on_events(numbered)
        self._publisher.offer(numbered)
        self._on_numbered()
        now = datetime.now(UTC)
        self._count.inc(len(numbered))
        for time, count in Counter([logged.event.time for logged in numbered]).items():  # one for each batch of writes
            self._delay.observe(max(0.0, (now - time).total_seconds()), count)

    async def _prune(self, retention: timedelta) -> None:
        while goes_on():
            try:
                if removed := await self._log.prune(retention):
                    _log.info("events_pruned", source=self._source, count=removed)
            except UnavailableError as error:
                _log.warning("prune_put_off", source=self._source, error=str(error))
            await asyncio.sleep(_PRUNE_EVERY.total_seconds())
