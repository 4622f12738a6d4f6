"""The client of realtime: publications from services."""

import grpc.aio

from stylobate.api.realtime.v1.realtime_service_pb2 import PublishRequest
from stylobate.api.realtime.v1.realtime_service_pb2_grpc import RealtimeServiceStub


class Publisher:
    """Sends publications to the realtime service, wherever it runs."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = RealtimeServiceStub(channel)

    async def publish(self, channel: str, payload: bytes) -> None:
        """Publish JSON. Returns when the broker took it; raises StylobateError: REALTIME_CHANNEL_UNKNOWN, UNAVAILABLE."""
        await self._stub.Publish(PublishRequest(channel=channel, data=payload))
