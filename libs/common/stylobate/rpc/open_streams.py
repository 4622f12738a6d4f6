"""Health and reflection, the services of gRPC's own that anyone may ask: what a stranger may hold open of them has its bound."""

from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection

from stylobate.errors import StylobateError
from stylobate.identity.client_address import address_of_peer, limit_key
from stylobate.rpc.method import Context, Edge
from stylobate.rpc.status import abort

MAX_STREAMS = 1024
MAX_STREAMS_PER_ADDRESS = 64
"""Of IPv6 a /64. A client of ours holds none; a client that has its balancer watch health holds one for each connection."""
_DOMAIN = "grpc"


class TooManyStreamsError(StylobateError):
    """A health watch or a reflection, beyond the number that a process, or one address, may have open."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "TOO_MANY_STREAMS"
    default_detail = "Too many streams are open."
    cure = "Close those that are not needed; one health watch for each connection is enough."


class OpenStreams:
    """The streams of a server that stand outside of its pipeline.

    :param edge: charges each as it opens; None: they are free.
    """

    def __init__(self, edge: Edge | None, *, most: int = MAX_STREAMS, per_address: int = MAX_STREAMS_PER_ADDRESS) -> None:
        self._edge = edge
        self._most = most
        self._per_address = per_address
        self._open: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """How many there are."""
        return self._open.total()

    @asynccontextmanager
    async def held(self, context: Context) -> AsyncIterator[None]:
        """Count a stream for as long as it is open; aborts its call where there are too many, or it is charged too often."""
        address = address_of_peer(context.peer())
        key = limit_key(address)
        try:
            if self._edge is not None:
                await self._edge.charge(address)
            if self._open[key] >= self._per_address or self.open >= self._most:
                raise TooManyStreamsError
        except StylobateError as error:
            await abort(context, error, _DOMAIN)
        self._open[key] += 1
        try:
            yield
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]


class Health(health.aio.HealthServicer):
    """``grpc.health.v1``. A look (``Check``) is free: balancers and probes take one every second."""

    def __init__(self, streams: OpenStreams) -> None:
        super().__init__()
        self._streams = streams

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:  # noqa: N802  the name in the contract
        """Tell the status whenever it changes."""
        async with self._streams.held(context):
            await super().Watch(request, context)


class Reflection(reflection.aio.ReflectionServicer):
    """``grpc.reflection.v1alpha``."""

    def __init__(self, names: tuple[str, ...], streams: OpenStreams) -> None:
        super().__init__(names)
        self._streams = streams

    async def ServerReflectionInfo(  # type: ignore[override]  # noqa: N802  its stubs take a generator for a coroutine
        self, request_iterator: AsyncIterable[Any], context: Any
    ) -> AsyncIterator[Any]:
        """Answer each question about the contracts."""
        async with self._streams.held(context):
            answers: Any = super().ServerReflectionInfo(request_iterator, context)
            async for answer in answers:
                yield answer
