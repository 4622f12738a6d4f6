# ruff: noqa: N802, ARG002  the names and signatures are the generated ones
"""``ProjectionService`` on the wire: convert in, ask the manager, convert out."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import grpc.aio
from stylobate.api.state.v1 import projection_service_pb2 as pb
from stylobate.api.state.v1.projection_service_pb2_grpc import ProjectionServiceServicer
from stylobate.rpc import RpcAccess

from stylobate_state.projection.manager import ProjectionManager, ViewChange
from stylobate_state.projection.model import Applied, Projection, View

_Context = grpc.aio.ServicerContext[object, object]


class ProjectionServicer(ProjectionServiceServicer):
    """Serves a ProjectionManager to services."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = dict.fromkeys(
        (
            "OpenProjection", "ReadViews", "ReadProgress", "ApplyEvents", "MoveProjection", "SweepProjection",
            "RebuildProjection", "ListProjections",
        ),
        RpcAccess.SERVICE,
    )  # fmt: skip

    def __init__(self, manager: ProjectionManager, logs: Mapping[str, str] = MappingProxyType({})) -> None:
        """Keep the parts.

        :param logs: by projection, the log that has its events, where that is not the service's own.
        """
        self._manager = manager
        self._logs = logs

    async def OpenProjection(self, request: pb.OpenProjectionRequest, context: _Context) -> pb.OpenProjectionResponse:
        projection = _projection(await self._manager.open(request.name))
        projection.log = self._logs.get(request.name, "")
        return pb.OpenProjectionResponse(projection=projection)

    async def ReadViews(self, request: pb.ReadViewsRequest, context: _Context) -> pb.ReadViewsResponse:
        views = await self._manager.read(request.name, request.generation, request.tenant, request.keys)
        return pb.ReadViewsResponse(views=map(_view, views))

    async def ReadProgress(self, request: pb.ReadProgressRequest, context: _Context) -> pb.ReadProgressResponse:
        return pb.ReadProgressResponse(numbers=await self._manager.progress(request.name, request.generation, request.tenant))

    async def ApplyEvents(self, request: pb.ApplyEventsRequest, context: _Context) -> pb.ApplyEventsResponse:
        ranges = {one.partition: (one.first, one.last) for one in request.events}
        events = Applied(request.name, request.generation, request.tenant, ranges)
        changes = [
            ViewChange(change.key, change.expected_version, change.data if change.HasField("data") else None, change.owner)
            for change in request.changes
        ]
        outcome = await self._manager.apply(events, changes, request.depth)
        return pb.ApplyEventsResponse(numbers=outcome.numbers, applied=outcome.is_applied)

    async def MoveProjection(self, request: pb.MoveProjectionRequest, context: _Context) -> pb.MoveProjectionResponse:
        await self._manager.move(request.name, request.generation, request.position or None, request.error)
        return pb.MoveProjectionResponse()

    async def SweepProjection(self, request: pb.SweepProjectionRequest, context: _Context) -> pb.SweepProjectionResponse:
        return pb.SweepProjectionResponse(done=await self._manager.sweep(request.name, request.generation))

    async def RebuildProjection(self, request: pb.RebuildProjectionRequest, context: _Context) -> pb.RebuildProjectionResponse:
        return pb.RebuildProjectionResponse(generation=(await self._manager.rebuild(request.name)).generation)

    async def ListProjections(self, request: pb.ListProjectionsRequest, context: _Context) -> pb.ListProjectionsResponse:
        return pb.ListProjectionsResponse(projections=map(_projection, await self._manager.standings()))


def _projection(projection: Projection) -> pb.Projection:
    message = pb.Projection(
        name=projection.name,
        generation=projection.generation,
        position=projection.position,
        rebuilding=projection.is_rebuilding,
        error=projection.error,
    )
    message.begun_at.FromDatetime(projection.begun_at)
    return message


def _view(view: View) -> pb.View:
    return pb.View(key=view.key, version=view.version, data=view.data, owner=view.owner)
