"""The durable hooks of a service: registered with each log, then run under a lease per log."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta

import grpc.aio

from stylobate.api.events.v1.event_service_pb2 import START_LATEST, ReadEventsRequest
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
from stylobate.resilience import wait_for_dependency
from stylobate.rpc import from_rpc_error
from stylobate.telemetry import gauge

LEASE = "hooks-"
"""Before the source in the name of the lease under which its durable hooks run."""

_LATE = timedelta(seconds=30)
_FIRST_MESSAGE_S = 5.0
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
        self._by_source: dict[str, list[Hook]] = {}
        for hook in hooks:
            for source in hook.sources:
                self._by_source.setdefault(source, []).append(hook)
        self._store = store
        self._leases = leases
        self._channel = channel
        self._patience = patience
        self._readers: dict[str, list[LogReader]] = {}
        self._unregistered = set(self._by_source)
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
            for source, hooks in self._by_source.items():
                group.create_task(self._serve(source, hooks, moves))

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
        for source in self._by_source.keys() - self._readers.keys():
            with suppress(UnavailableError):  # the database's own check says so
                if vacancy := await self._leases.vacancy(LEASE + source):
                    return Health(Status.DEGRADED, f"nobody runs the hooks of {source}: {vacancy}", metrics)
        if lag > _LATE.total_seconds():
            late = sorted({reader.hook.name for reader in readers if reader.lag_s > _LATE.total_seconds()})
            return Health(Status.DEGRADED, f"hooks are behind: {', '.join(late)}", metrics)
        return Health(metrics=metrics)

    async def _serve(self, source: str, hooks: list[Hook], moves: "Batcher[Move, bool]") -> None:
        await wait_for_dependency(f"events of {source}", lambda: self._register(source, hooks), faults=(StylobateError,))
        self._unregistered.discard(source)
        if not self._unregistered:
            self._ready.set()
        await self._leases.run(LEASE + source, lambda lease: self._lead(source, hooks, lease, moves))

    async def _register(self, source: str, hooks: list[Hook]) -> None:
        """Give hooks that have no position yet the end of the log."""
        new = await self._store.unknown(source, [hook.name for hook in hooks])
        if new:
            await self._store.add(source, new, await self._end_of(source))
            _log.info("hooks_registered", source=source, hooks=new)

    async def _end_of(self, source: str) -> Position:
        call = EventServiceStub(self._channel(source)).ReadEvents(
            ReadEventsRequest(source=source, start=START_LATEST), timeout=_FIRST_MESSAGE_S
        )
        try:
            async for message in call:
                return Position.parse(message.position)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        finally:
            call.cancel()
        raise StylobateError(f"the log of {source} ended before its first message")

    async def _lead(self, source: str, hooks: list[Hook], lease: Lease, moves: "Batcher[Move, bool]") -> None:
        positions = await self._store.take(source, [hook.name for hook in hooks], lease.token)
        readers = [
            LogReader(
                hook,
                source,
                token=lease.token,
                position=positions[hook.name],
                channel=self._channel(source),
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
