"""One projection, fed from the log for as long as this process leads."""

import asyncio
import operator
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from time import monotonic
from typing import Any

import grpc.aio
from stylobate.api.events.v1.event_service_pb2 import START_EARLIEST, START_LATEST, ReadEventsRequest, ReadEventsResponse, Start
from stylobate.api.events.v1.event_service_pb2_grpc import EventServiceStub
from stylobate.api.state.v1 import projection_service_pb2 as pb
from stylobate.api.state.v1.projection_service_pb2_grpc import ProjectionServiceStub
from stylobate.declarations.model import ProjectionDeclaration
from stylobate.errors import StylobateError, UnavailableError
from stylobate.logs import get_logger
from stylobate.outbox import Event, LoggedEvent, Position, PositionExpiredError
from stylobate.resilience import Interruption, backoff, wait_for_dependency
from stylobate.rpc import from_rpc_error
from stylobate.stopping import check_cancelled, end, goes_on

from stylobate_actions.projections.fold import Fold, Method
from stylobate_actions.projections.worker import REBUILT, Worker

SERVICE = "state"
_NOTED_EVERY_S = 2.0
_TIMEOUT_S = 10.0
_log = get_logger("app")


class Projector:
    """Reads the log from where the projection stands and hands its events to the worker.

    A log that was taken back, as by a restored backup, has the projection begin anew: what it is made of may have changed.
    """

    def __init__(self, declaration: ProjectionDeclaration, channel: grpc.aio.Channel, method: Method) -> None:
        self.name = declaration.name
        self._types = [f"state.{source}.*" for source in declaration.sources]
        self._service: Any = ProjectionServiceStub(channel)
        self._events = EventServiceStub(channel)
        self._method = method
        self._worker: Worker | None = None
        self._log = SERVICE
        self._unread_since: float | None = None
        self._unread = Interruption("projection_log_unreadable")

    @property
    def lag_s(self) -> float:
        """The age of the oldest event that is not dealt with, or how long the log could not be read."""
        unread = 0.0 if self._unread_since is None else monotonic() - self._unread_since
        return max(unread, self._worker.age_s if self._worker is not None else 0.0)

    @property
    def pending(self) -> int:
        """How many events were received and not dealt with."""
        return self._worker.pending if self._worker is not None else 0

    @property
    def error(self) -> str:
        """Why it does not go on; empty while it does."""
        return self._worker.error if self._worker is not None else ""

    async def run(self) -> None:
        """Go on from where it stands, forever; from the beginning when it is rebuilt."""
        while goes_on():
            try:
                opened = await wait_for_dependency(f"projection {self.name}", self._open, faults=(StylobateError,))
                # a task of its own: a group that failed leaves the mark of its cancellation on the one it was in
                task = asyncio.create_task(self._run(opened))
                try:
                    await task
                finally:
                    await end((task,))
            except* StylobateError as group:
                errors = list(_leaves(group))
                if any(error.reason == PositionExpiredError.reason for error in errors):
                    await self._begin_anew()
                elif not any(error.reason == REBUILT for error in errors):
                    self._note(errors[0])
                    await asyncio.sleep(1)

    async def _open(self) -> pb.Projection:
        answer = await self._service.OpenProjection(pb.OpenProjectionRequest(name=self.name), timeout=_TIMEOUT_S)
        projection: pb.Projection = answer.projection
        return projection

    async def _run(self, projection: pb.Projection) -> None:
        """Feed one generation. Raises what ends it."""
        self._log = projection.log or SERVICE
        start = Position.parse(projection.position) if projection.position else await self._first(START_EARLIEST)
        if not projection.position:  # before any event: what was applied is told by numbers, and those are of this log alone
            await self._move(projection.generation, str(start), "")
        latest = await self._first(START_LATEST)
        worker = Worker(self.name, Fold(self.name, projection.generation, self._service, self._method), start.numbers)
        self._worker = worker
        _log.info("projection_runs", projection=self.name, generation=projection.generation, rebuilding=projection.rebuilding)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(worker.run())
                group.create_task(self._read_on(worker, start))
                group.create_task(self._note_on(worker, projection, start, latest))
        finally:
            self._worker = None

    async def _read_on(self, worker: Worker, start: Position) -> None:
        """Take the log from a position on, over one stream after another. Raises POSITION_EXPIRED."""
        pauses, reached = backoff(maximum=1.0), start
        while goes_on():
            try:
                request = ReadEventsRequest(source=self._log, position=str(reached), types=self._types, carried=True)
                async with aclosing(self._messages(request)) as messages:
                    async for message in messages:
                        self._unread_since = None
                        self._unread.over()
                        pauses = backoff(maximum=1.0)
                        for entry in message.events:
                            await worker.offer(LoggedEvent(Event.parse(entry.event), entry.partition, entry.number))
                        reached = Position.parse(message.position)
                        worker.skip_to(reached.numbers)
            except UnavailableError as error:
                self._note(error)
            await asyncio.sleep(next(pauses))

    async def _note_on(self, worker: Worker, projection: pb.Projection, start: Position, latest: Position) -> None:
        """Note now and then how far it came: what lies behind need not be read again. Raises PROJECTION_REBUILT.

        :param latest: the end of the log when it began here: once it has come so far, what was not made again is deleted.
        """
        generation = projection.generation
        is_rebuilding = projection.rebuilding
        while goes_on():
            await asyncio.sleep(_NOTED_EVERY_S)
            position = Position.of(worker.numbers, start.epoch)
            try:
                if is_rebuilding and all(map(operator.ge, position.numbers, latest.numbers)):
                    await self._sweep(pb.SweepProjectionRequest(name=self.name, generation=generation))
                    is_rebuilding = False
                await self._move(generation, str(position), worker.error)
            except UnavailableError as error:
                self._note(error)

    async def _move(self, generation: int, position: str, error: str) -> None:
        request = pb.MoveProjectionRequest(name=self.name, generation=generation, position=position, error=error)
        await self._service.MoveProjection(request, timeout=_TIMEOUT_S)

    async def _sweep(self, request: pb.SweepProjectionRequest) -> None:
        while not (await self._service.SweepProjection(request, timeout=_TIMEOUT_S)).done:
            check_cancelled()
        _log.info("projection_rebuilt", projection=self.name, generation=request.generation)

    async def _first(self, start: Start.ValueType) -> Position:
        """Return one end of the log."""
        async with aclosing(self._messages(ReadEventsRequest(source=self._log, start=start, types=self._types))) as messages:
            async for message in messages:
                return Position.parse(message.position)
        raise UnavailableError("the log ended before its first message")

    async def _messages(self, request: ReadEventsRequest) -> AsyncGenerator[ReadEventsResponse, None]:
        call = self._events.ReadEvents(request)
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        finally:
            call.cancel()

    async def _begin_anew(self) -> None:
        _log.warning("projection_log_taken_back", projection=self.name)
        try:
            await self._service.RebuildProjection(pb.RebuildProjectionRequest(name=self.name), timeout=_TIMEOUT_S)
        except StylobateError as error:
            self._note(error)
            await asyncio.sleep(1)

    def _note(self, error: StylobateError) -> None:
        if self._unread_since is None:
            self._unread_since = monotonic()
        self._unread.note(projection=self.name, error=f"{error.reason}: {error}")


def _leaves(group: BaseExceptionGroup[StylobateError]) -> Iterator[StylobateError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
