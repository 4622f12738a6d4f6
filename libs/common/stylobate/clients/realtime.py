"""The client of realtime: publications from services."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio

from stylobate.api.realtime.v1.realtime_service_pb2 import PublishRequest
from stylobate.api.realtime.v1.realtime_service_pb2_grpc import RealtimeServiceStub

Send = Callable[[Callable[[Any], Awaitable[Any]], PublishRequest], Awaitable[Any]]
"""Calls a method with a request."""


class Publisher:
    """Sends publications to the realtime service, wherever it runs."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = RealtimeServiceStub(channel)

    async def publish(self, channel: str, payload: bytes, send: Send | None = None) -> None:
        """Publish JSON. Returns when the broker took it; raises StylobateError: REALTIME_CHANNEL_UNKNOWN, UNAVAILABLE.

        :param send: sends the request, with an idempotency key; None: it goes as it is.
        """
        request = PublishRequest(channel=channel, data=payload)
        await (self._stub.Publish(request) if send is None else send(self._stub.Publish, request))
