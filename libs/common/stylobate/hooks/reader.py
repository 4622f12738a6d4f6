"""One durable hook on one log: the stream of its events, dealt out to a worker per partition."""

import asyncio
from datetime import timedelta
from time import monotonic

import grpc
import grpc.aio

from stylobate.api.events.v1.event_service_pb2 import ReadEventsRequest, ReadEventsResponse
from stylobate.api.events.v1.event_service_pb2_grpc import EventServiceStub
from stylobate.errors import StylobateError, UnavailableError
from stylobate.hooks.gap import rebased
from stylobate.hooks.hook import Hook
from stylobate.hooks.port import HookStore, Place
from stylobate.hooks.runs import OvertakenError, Patience, Runs
from stylobate.hooks.worker import Mover, Worker
from stylobate.logs import get_logger
from stylobate.outbox import Event, LoggedEvent, Position, PositionExpiredError
from stylobate.resilience import Interruption, backoff
from stylobate.rpc import from_rpc_error
from stylobate.stopping import end, goes_on
from stylobate.telemetry import counter

_SKIP_EVERY = timedelta(seconds=5)
_log = get_logger("app")

StreamCall = grpc.aio.UnaryStreamCall[ReadEventsRequest, ReadEventsResponse]


class _TakenBackError(Exception):
    """The log was taken back; the workers begin anew from the positions that are stored now."""


class LogReader:
    """Reads the log from where the hook stands, for as long as the lease is held.

    A partition whose worker is full is left out of the stream until there is room: it is read again from its own position,
    so that a hook that is stuck on more subjects than may stand aside holds up that partition and no other.
    """

    def __init__(
        self,
        hook: Hook,
        source: str,
        *,
        token: int,
        position: Position,
        channel: grpc.aio.Channel,
        store: HookStore,
        mover: Mover,
        patience: Patience,
    ) -> None:
        self.hook = hook
        self._source = source
        self._token = token
        self._events = EventServiceStub(channel)
        self._store = store
        self._mover = mover
        self._runs = Runs(hook, patience)
        self._room = asyncio.Event()
        self._lost_at: float | None = monotonic()
        self._unreadable = Interruption("hook_log_unreadable")
        self._gaps = counter("hook_gaps", "Partitions of a log in which a hook missed events.", ("hook", "source"))
        self._group = asyncio.TaskGroup()
        self._begin(position)

    def _begin(self, position: Position) -> None:
        """Stand there, with workers that hold nothing."""
        self._epoch = position.epoch
        self._group = asyncio.TaskGroup()
        self._passed = dict(enumerate(position.numbers))  # received, or none of ours
        self._workers = {
            partition: Worker(
                Place(self.hook.name, self._source, partition, self._token, position.epoch),
                number,
                runs=self._runs,
                store=self._store,
                mover=self._mover,
                spawn=self._group.create_task,
            )
            for partition, number in self._passed.items()
        }

    @property
    def pending(self) -> int:
        """How many events were received and not dealt with; those that stand aside not counted."""
        return sum(worker.pending for worker in self._workers.values())

    @property
    def aside(self) -> int:
        """How many events stand aside."""
        return sum(worker.aside for worker in self._workers.values())

    @property
    def lag_s(self) -> float:
        """How far behind it is: the age of the oldest event not dealt with, or how long the log could not be read."""
        unread = 0.0 if self._lost_at is None else monotonic() - self._lost_at
        return max(unread, *(worker.age_s for worker in self._workers.values()))

    async def run(self) -> None:
        """Read and deal out, forever. Raises OvertakenError when another process goes on with it."""
        while goes_on():
            try:
                subjects = await self._store.subjects_aside(self.hook.name, self._source)
                async with self._group:
                    for partition, worker in self._workers.items():
                        worker.resume(subjects.get(partition, {}))
                    self._group.create_task(self._skip_on())
                    await self._read_on()
            except* _TakenBackError:
                _log.warning("hook_log_taken_back", hook=self.hook.name, source=self._source, epoch=self._epoch)

    async def _read_on(self) -> None:
        pauses = backoff(initial=0.05, maximum=1.0)
        while goes_on():
            try:
                await self._read()
            except (StylobateError, grpc.aio.AioRpcError) as error:
                failed = from_rpc_error(error) if isinstance(error, grpc.aio.AioRpcError) else error
                if self._lost_at is not None or failed.code is not grpc.StatusCode.UNAVAILABLE:
                    await self._lost(failed)
                # else it worked until now (a restart, a connection that came of age): open the next one in silence
            if self._lost_at is None:  # it had worked
                self._lost_at = monotonic()
                pauses = backoff(initial=0.05, maximum=1.0)
            await asyncio.sleep(next(pauses))

    async def _read(self) -> None:
        """Hold a stream of the partitions that have room; return when that changes or the stream ends."""
        while goes_on():
            self._room.clear()
            wanted = [partition for partition, worker in self._workers.items() if not worker.is_blocked]
            if not wanted:
                await self._room.wait()
                continue
            position = Position.origin(self._epoch).advanced(self._passed)
            call: StreamCall = self._events.ReadEvents(
                ReadEventsRequest(source=self._source, position=str(position), partitions=wanted, types=[self.hook.pattern.text])
            )
            try:
                if not await self._follow(call, wanted):
                    return
            finally:
                call.cancel()

    async def _follow(self, call: StreamCall, wanted: list[int]) -> bool:
        """Take what comes; True when another set of partitions is to be read, False when the stream has ended."""
        taking = asyncio.create_task(self._take_all(call, wanted))
        room = asyncio.create_task(self._room.wait())
        try:
            await asyncio.wait((taking, room), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end((taking, room))
        if not taking.done() or taking.cancelled():  # there is room again, or the call was cancelled under it
            return room.done() and not room.cancelled()
        return taking.result() or (room.done() and not room.cancelled())

    async def _take_all(self, call: StreamCall, wanted: list[int]) -> bool:
        """Take message by message; True as soon as a worker is full, False at the end of the stream."""
        async for message in call:
            self._lost_at = None
            self._unreadable.over()
            if not self._take(message, wanted):
                return True
        return False

    def _take(self, message: ReadEventsResponse, wanted: list[int]) -> bool:
        for entry in message.events:
            worker = self._workers[entry.partition]
            if worker.is_blocked:
                continue
            if worker.offer(LoggedEvent(Event.parse(entry.event), entry.partition, entry.number)):
                self._passed[entry.partition] = entry.number
                self._start(worker)
        reached = Position.parse(message.position).numbers
        for partition in wanted:
            if not self._workers[partition].is_blocked:
                self._passed[partition] = max(self._passed[partition], reached[partition])
        return not any(self._workers[partition].is_blocked for partition in wanted)

    def _start(self, worker: Worker) -> None:
        """Let a worker run; it has a task only while it has events."""
        if not worker.is_running:
            worker.is_running = True
            self._group.create_task(self._run(worker))

    async def _run(self, worker: Worker) -> None:
        try:
            await worker.run(self._room.set)
        finally:
            worker.is_running = False

    async def _skip_on(self) -> None:
        """Now and then move the positions of idle workers over what did not concern them, so that they do not expire.

        And look whether they are still ours: somebody may have rewound them.
        """
        while goes_on():
            await asyncio.sleep(_SKIP_EVERY.total_seconds())
            idle = [(worker, self._passed[number]) for number, worker in self._workers.items() if not worker.is_running]
            moves = [worker.skip_to(passed) for worker, passed in idle if passed > worker.number]
            held = self._store.holds(self.hook.name, self._source, self._token)
            for outcome in await asyncio.gather(held, *moves, return_exceptions=True):
                if isinstance(outcome, Exception) and not isinstance(outcome, UnavailableError):  # else: next time
                    raise outcome
                if outcome is False:
                    raise OvertakenError(self.hook.name)

    async def _lost(self, error: StylobateError) -> None:
        """Deal with a stream that failed: note what is gone if so, and say it once per outage."""
        if error.reason == PositionExpiredError.reason and "position" in error.metadata:
            there = Position.parse(error.metadata["position"])
            is_back = any(there.numbers[partition] < passed for partition, passed in self._passed.items())
            try:
                await (self._rebase(there) if is_back or there.epoch != self._epoch else self._give_up_gap(there))
            except UnavailableError as fault:
                _log.warning("hook_position_waits", hook=self.hook.name, error=str(fault))
        else:
            self._unreadable.note(hook=self.hook.name, source=self._source, error=f"{error.reason}: {error}")

    async def _rebase(self, there: Position) -> None:
        """Go on in a log that was taken back, with what is missing on record. Raises _TakenBackError."""
        stored = {partition: worker.number for partition, worker in self._workers.items()}
        places = rebased(stored, self._passed, there)
        if not await self._store.rebase(self.hook.name, self._source, self._token, there.epoch, places):
            raise OvertakenError(self.hook.name)
        for place in places:
            if place.error is not None:
                self._record(place.partition, place.error)
        self._begin(there.advanced({place.partition: place.number for place in places}))
        raise _TakenBackError

    async def _give_up_gap(self, oldest: Position) -> None:
        """Put pruned events on record as lost to this hook, and go on behind them."""
        for partition, worker in self._workers.items():
            start, number = self._passed[partition], oldest.numbers[partition]
            if number > start:
                text = f"POSITION_EXPIRED: numbers {start + 1} to {number} were removed before the hook read them"
                if not await self._store.bury_gap(
                    worker.place, number, text, move_to=worker.number if worker.pending else number
                ):
                    raise OvertakenError(worker.place)
                self._record(partition, text)
                self._passed[partition] = number
                if not worker.pending:
                    worker.number = number

    def _record(self, partition: int, error: str) -> None:
        self._gaps.labels(self.hook.name, self._source).inc()
        _log.error("hook_events_lost", hook=self.hook.name, source=self._source, partition=partition, error=error)
