"""RealtimeService over gRPC, for services only."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from stylobate.api.realtime.v1.realtime_service_pb2 import PublishRequest, PublishResponse
from stylobate.api.realtime.v1.realtime_service_pb2_grpc import RealtimeServiceServicer
from stylobate.idempotency import Claim, Idempotency
from stylobate.rpc import RpcAccess
from stylobate.rpc.call import call
from stylobate.telemetry import is_sampled

TRACE = "traceparent"
"""The tag of a publication that belongs to a sampled trace."""


class Publisher(Protocol):
    """Takes publications of services; :class:`.websocket_manager.WebSocketManager` does."""

    async def publish(self, tenant: str, channel: str, data: bytes, tags: Mapping[str, str], claim: Claim | None = None) -> None:
        """Publish to a channel in nobody's name. Raises KeyTakenError."""


class RealtimeServicer(RealtimeServiceServicer):
    """One method per RPC."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {"Publish": RpcAccess.SERVICE}

    def __init__(self, manager: Publisher, idempotency: Idempotency) -> None:
        self._manager = manager
        self._idempotency = idempotency

    async def Publish(self, request: PublishRequest, context: Any) -> PublishResponse:  # noqa: ARG002, N802  as generated
        caller, tags = call(), dict(request.tags)
        if is_sampled(caller.traceparent):  # who gets the push may go on with the trace
            tags.setdefault(TRACE, caller.traceparent)
        tenant = caller.principal.tenant
        return await self._idempotency.once(
            request,
            caller.principal,
            PublishResponse,
            lambda claim: self._manager.publish(tenant, request.channel, request.data, tags, claim),
            lambda _: PublishResponse(),
            target=request.channel,
        )
