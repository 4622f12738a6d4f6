"""The durable hooks of a service: registered with each log, then run under a lease per log."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta

import grpc.aio

from stylobate.api.events.v1.event_service_pb2 import START_EARLIEST, START_LATEST, ReadEventsRequest, Start
from stylobate.api.events.v1.event_service_pb2_grpc import EventServiceStub
from stylobate.batching import Batcher
from stylobate.errors import StylobateError, UnavailableError
from stylobate.health import Health, Status
from stylobate.hooks.hook import Hook
from stylobate.hooks.port import HookStore, Move
from stylobate.hooks.reader import LogReader
from stylobate.hooks.runs import OvertakenError, Patience
from stylobate.leases import Lease, LeaseManager
from stylobate.logs import get_logger
from stylobate.outbox import Position
from stylobate.outbox.logs import LogName, logs_of
from stylobate.resilience import wait_for_dependency
from stylobate.rpc import from_rpc_error
from stylobate.stopping import check_cancelled
from stylobate.telemetry import gauge

LEASE = "hooks-"
"""Before the source in the name of the lease under which its durable hooks run."""

_LATE = timedelta(seconds=30)
_FIRST_MESSAGE_S = 5.0
_LOGS_EVERY_S = 5.0
"""How often it is asked whether a service has a further log."""
_log = get_logger("app")


class DurableHooks:
    """Runs ``one`` hooks: of all processes of the service, for each log the one that holds its lease."""

    def __init__(
        self,
        hooks: Sequence[Hook],
        store: HookStore,
        leases: LeaseManager,
        channel: Callable[[str], grpc.aio.Channel],
        patience: Patience,
    ) -> None:
        self._by_service: dict[str, list[Hook]] = {}
        for hook in hooks:
            for source in hook.sources:
                self._by_service.setdefault(source, []).append(hook)
        self._by_log: dict[str, list[Hook]] = dict(self._by_service)
        self._store = store
        self._leases = leases
        self._channel = channel
        self._patience = patience
        self._readers: dict[str, list[LogReader]] = {}
        self._unregistered = set(self._by_service)
        self._fresh: dict[str, set[str]] = {}
        """By service, the hooks that begin with this process: in each log at its end."""
        self._ready = asyncio.Event()
        self._lag = gauge(
            "hook_lag_seconds", "Age of the oldest event that a durable hook has not dealt with.", ("hook", "source")
        )
        self._pending = gauge("hook_pending", "Events received and not dealt with.", ("hook", "source"))
        self._aside = gauge("hook_aside", "Events whose subject stands aside, being tried again.", ("hook", "source"))

    async def run(self) -> None:
        """Register the hooks with their logs and run them, forever."""
        moves: Batcher[Move, bool] = Batcher(self._store.move, in_flight=1, keys=lambda move: (move.place,))
        async with moves, asyncio.TaskGroup() as group:
            for service in self._by_service:
                group.create_task(self._serve(service, moves, group))

    async def ready(self) -> None:
        """Return when every hook has its position in every log: from then on it misses nothing."""
        await self._ready.wait()

    async def health(self) -> Health:
        """Tell the lag of what runs here; unhealthy until every hook is registered."""
        readers = [reader for running in self._readers.values() for reader in running]
        lag = max((reader.lag_s for reader in readers), default=0.0)
        metrics = {
            "lag_seconds": round(lag, 3),
            "pending": float(sum(reader.pending for reader in readers)),
            "aside": float(sum(reader.aside for reader in readers)),
            "leading": float(len(self._readers)),
        }
        if self._unregistered:
            return Health(Status.UNHEALTHY, f"hooks wait for the events of {', '.join(sorted(self._unregistered))}", metrics)
        for source in self._by_log.keys() - self._readers.keys():
            with suppress(UnavailableError):  # the database's own check says so
                if vacancy := await self._leases.vacancy(LEASE + source):
                    return Health(Status.DEGRADED, f"nobody runs the hooks of {source}: {vacancy}", metrics)
        if lag > _LATE.total_seconds():
            late = sorted({reader.hook.name for reader in readers if reader.lag_s > _LATE.total_seconds()})
            return Health(Status.DEGRADED, f"hooks are behind: {', '.join(late)}", metrics)
        return Health(metrics=metrics)

    async def _serve(self, service: str, moves: "Batcher[Move, bool]", group: asyncio.TaskGroup) -> None:
        """Run the hooks of a service's log; and of each that it has beside it, as soon as there is one."""
        names = [hook.name for hook in self._by_service[service]]
        known = LogName(service)

        async def begin() -> list[LogName]:
            """Register with the further logs first: which hooks are new is told by the log of the service's own name."""
            self._fresh.setdefault(service, set(await self._store.unknown(service, names)))
            logs = await logs_of(EventServiceStub(self._channel(service)), service)
            for log in logs:
                if log.source != service:
                    with suppress(StylobateError):  # it does not answer now; nothing happens there, and it is tried again
                        await self._register(service, log)
            await self._register(service, known)
            return logs

        logs = await wait_for_dependency(f"events of {service}", begin, faults=(StylobateError,))
        self._unregistered.discard(service)
        if not self._unregistered:
            self._ready.set()
        group.create_task(self._run(service, known, moves))
        while True:
            for log in logs:
                if log.source not in self._by_log and (hooks := self._hooks(service, log)):
                    self._by_log[log.source] = hooks
                    group.create_task(self._run(service, log, moves))
            await asyncio.sleep(_LOGS_EVERY_S)
            check_cancelled()
            with suppress(StylobateError):  # the readers say so
                logs = await logs_of(EventServiceStub(self._channel(service)), service)

    async def _run(self, service: str, log: LogName, moves: "Batcher[Move, bool]") -> None:
        source = log.source
        await wait_for_dependency(f"events of {source}", lambda: self._register(service, log), faults=(StylobateError,))
        await self._leases.run(LEASE + source, lambda lease: self._lead(service, source, lease, moves))

    def _hooks(self, service: str, log: LogName) -> list[Hook]:
        return [hook for hook in self._by_service[service] if log.has(hook.pattern)]

    async def _register(self, service: str, log: LogName) -> None:
        """Give hooks that have no position yet the end of the log; its beginning where they have read the service's own one."""
        new = await self._store.unknown(log.source, [hook.name for hook in self._hooks(service, log)])
        fresh = self._fresh[service]
        starts = {START_LATEST: [name for name in new if log.source == service or name in fresh]}
        starts[START_EARLIEST] = [name for name in new if name not in starts[START_LATEST]]
        for start, names in starts.items():
            if names:
                await self._store.add(log.source, names, await self._place_in(service, log.source, start))
                _log.info("hooks_registered", source=log.source, hooks=names)

    async def _place_in(self, service: str, source: str, start: Start.ValueType) -> Position:
        call = EventServiceStub(self._channel(service)).ReadEvents(
            ReadEventsRequest(source=source, start=start), timeout=_FIRST_MESSAGE_S
        )
        try:
            async for message in call:
                return Position.parse(message.position)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        finally:
            call.cancel()
        raise StylobateError(f"the log of {source} ended before its first message")

    async def _lead(self, service: str, source: str, lease: Lease, moves: "Batcher[Move, bool]") -> None:
        hooks = self._by_log[source]
        positions = await self._store.take(source, [hook.name for hook in hooks], lease.token)
        readers = [
            LogReader(
                hook,
                source,
                token=lease.token,
                position=positions[hook.name],
                channel=self._channel(service),
                store=self._store,
                mover=moves,
                patience=self._patience,
            )
            for hook in hooks
            if hook.name in positions
        ]
        if not readers:
            return  # a newer lease was here already
        self._readers[source] = readers
        self._show(source, self._readers)
        _log.info("hooks_lead", source=source, lease=lease.token, hooks=[reader.hook.name for reader in readers])
        try:
            async with asyncio.TaskGroup() as group:
                for reader in readers:
                    group.create_task(reader.run())
        except* OvertakenError:
            _log.warning("hooks_overtaken", source=source, lease=lease.token)
        finally:
            self._readers.pop(source, None)

    def _show(self, source: str, running: Mapping[str, list[LogReader]]) -> None:
        """Let the gauges read off what runs here when they are scraped; 0 when another process leads."""

        def value(name: str, of: Callable[[LogReader], float]) -> Callable[[], float]:
            return lambda: max((of(reader) for reader in running.get(source, ()) if reader.hook.name == name), default=0.0)

        for reader in running[source]:
            name = reader.hook.name
            self._lag.labels(name, source).set_function(value(name, lambda reader: reader.lag_s))
            self._pending.labels(name, source).set_function(value(name, lambda reader: float(reader.pending)))
            self._aside.labels(name, source).set_function(value(name, lambda reader: float(reader.aside)))
