"""RealtimeService over gRPC, for services only."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from stylobate.api.realtime.v1.realtime_service_pb2 import PublishRequest, PublishResponse
from stylobate.api.realtime.v1.realtime_service_pb2_grpc import RealtimeServiceServicer
from stylobate.idempotency import refuse_key
from stylobate.rpc import RpcAccess
from stylobate.rpc.call import call


class Publisher(Protocol):
    """Takes publications of services; :class:`.websocket_manager.WebSocketManager` does."""

    async def publish(self, tenant: str, channel: str, data: bytes, tags: Mapping[str, str]) -> None:
        """Publish to a channel in nobody's name."""


class RealtimeServicer(RealtimeServiceServicer):
    """One method per RPC."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {"Publish": RpcAccess.SERVICE}

    def __init__(self, manager: Publisher) -> None:
        self._manager = manager

    async def Publish(self, request: PublishRequest, context: Any) -> PublishResponse:  # noqa: ARG002, N802  as generated
        refuse_key(request)
        await self._manager.publish(call().principal.tenant, request.channel, request.data, request.tags)
        return PublishResponse()
