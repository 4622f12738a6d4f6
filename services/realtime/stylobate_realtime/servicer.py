"""RealtimeService over gRPC, for services only."""

import grpc
from stylobate.api.realtime.v1.realtime_service_pb2 import PublishRequest, PublishResponse
from stylobate.api.realtime.v1.realtime_service_pb2_grpc import RealtimeServiceServicer
from stylobate.rpc.call import call

from stylobate_realtime.websocket_manager import WebSocketManager


class RealtimeServicer(RealtimeServiceServicer):
    """One method per RPC."""

    def __init__(self, manager: WebSocketManager) -> None:
        self._manager = manager

    async def Publish(  # noqa: N802  the method's name in the contract
        self,
        request: PublishRequest,
        context: grpc.aio.ServicerContext[PublishRequest, PublishResponse],  # noqa: ARG002
    ) -> PublishResponse:
        """Publish to a channel."""
        await self._manager.publish(call().principal.tenant, request.channel, request.data, request.tags)
        return PublishResponse()
