"""The gRPC face of the ratelimit service."""

import grpc.aio
from stylobate.api.ratelimit.v1.ratelimit_service_pb2 import CheckLimitsRequest, CheckLimitsResponse
from stylobate.api.ratelimit.v1.ratelimit_service_pb2_grpc import RateLimitServiceServicer

from stylobate_ratelimit.convert import groups_of, response_of
from stylobate_ratelimit.rate_limiter_manager import RateLimiterManager


class RateLimitServicer(RateLimitServiceServicer):
    """Checks limits for other services."""

    def __init__(self, manager: RateLimiterManager) -> None:
        self._manager = manager

    async def CheckLimits(  # noqa: N802  as generated
        self,
        request: CheckLimitsRequest,
        context: grpc.aio.ServicerContext[CheckLimitsRequest, CheckLimitsResponse],  # noqa: ARG002  the metadata says nothing here
    ) -> CheckLimitsResponse:
        """Charge a batch of checks."""
        groups = groups_of(request, self._manager.rule)
        return response_of(groups, await self._manager.check(groups))
