"""The gRPC face of the ratelimit service."""

from collections.abc import Mapping
from typing import ClassVar

import grpc.aio
from stylobate.api.ratelimit.v1.ratelimit_service_pb2 import CheckLimitsRequest, CheckLimitsResponse
from stylobate.api.ratelimit.v1.ratelimit_service_pb2_grpc import RateLimitServiceServicer
from stylobate.rpc.access import RpcAccess

from stylobate_ratelimit.convert import from_groups, to_response
from stylobate_ratelimit.rate_limiter_manager import RateLimiterManager


class RateLimitServicer(RateLimitServiceServicer):
    """Checks limits for other services."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {"CheckLimits": RpcAccess.SERVICE}

    def __init__(self, manager: RateLimiterManager) -> None:
        self._manager = manager

    async def CheckLimits(  # noqa: N802  as generated
        self,
        request: CheckLimitsRequest,
        context: grpc.aio.ServicerContext[CheckLimitsRequest, CheckLimitsResponse],  # noqa: ARG002  the metadata says nothing here
    ) -> CheckLimitsResponse:
        """Charge a batch of checks."""
        groups = from_groups(request, self._manager.rule)
        return to_response(groups, await self._manager.check(groups))
