"""The gRPC face of the ratelimit service."""

from collections.abc import Mapping
from typing import Any, ClassVar

from stylobate.api.ratelimit.v1.ratelimit_service_pb2 import CheckLimitsRequest, CheckLimitsResponse
from stylobate.api.ratelimit.v1.ratelimit_service_pb2_grpc import RateLimitServiceServicer
from stylobate.rpc import RpcAccess

from stylobate_ratelimit.convert import from_groups, to_response
from stylobate_ratelimit.rate_limiter_manager import RateLimiterManager


class RateLimitServicer(RateLimitServiceServicer):
    """Checks limits for other services."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {"CheckLimits": RpcAccess.SERVICE}

    def __init__(self, manager: RateLimiterManager) -> None:
        self._manager = manager

    async def CheckLimits(self, request: CheckLimitsRequest, context: Any) -> CheckLimitsResponse:  # noqa: ARG002, N802  as generated
        groups = from_groups(request, self._manager.rule)
        return to_response(groups, await self._manager.check(groups))
