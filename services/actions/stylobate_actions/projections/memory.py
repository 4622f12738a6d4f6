"""Projections of modules under test: each event is dealt with when the test delivers it."""

from collections.abc import Awaitable, Callable
from itertools import count

import grpc.aio
from stylobate.api.state.v1.projection_service_pb2 import OpenProjectionRequest
from stylobate.api.state.v1.projection_service_pb2_grpc import ProjectionServiceStub
from stylobate.outbox.event import Event, LoggedEvent

from stylobate_actions.projections.fold import Fold, Method


def in_memory(name: str, channel: grpc.aio.Channel, method: Method) -> Callable[[Event], Awaitable[None]]:
    """Return what deals with an event; it raises what the method raises, and what the state service refuses."""
    service, numbers = ProjectionServiceStub(channel), count(1)

    async def deal_with(event: Event) -> None:
        generation = (await service.OpenProjection(OpenProjectionRequest(name=name))).projection.generation
        folded = await Fold(name, generation, service, method).apply([LoggedEvent(event, event.partition, next(numbers))])
        if folded.failure is not None:
            raise folded.failure.error

    return deal_with
