"""`/v1/limits`: callers see how their own limits stand, operators see those of others."""

from collections.abc import Sequence
from math import ceil

import grpc.aio
from fastapi import APIRouter, Request, Response
from stylobate.api.ratelimit.v1 import ratelimit_service_pb2 as pb
from stylobate.api.ratelimit.v1.ratelimit_service_pb2_grpc import RateLimitServiceStub
from stylobate.declarations.limits_check import MAX_LEVELS

from stylobate_gateway.charges import Charges
from stylobate_gateway.document.answers import refuses
from stylobate_gateway.idempotency import Changing, answered
from stylobate_gateway.routes.route import area
from stylobate_gateway.schemas.limits import Counted, RuleName, Standing, Standings


def routes(channel: grpc.aio.Channel, charges: Charges) -> APIRouter:
    """Return the area's routes over the channel to ratelimit."""
    router = area("/v1/limits", "limits")
    stub = RateLimitServiceStub(channel)

    @router.get("", responses=refuses("Limits", 422))
    async def list_limits(request: Request) -> Standings:
        """Return the limits that count you, and how they stand. To look costs a request like any other."""
        levels, subjects = charges.of_caller(request.scope["stylobate"])
        items: list[Standing] = []
        is_degraded = False
        for start in range(0, len(levels), MAX_LEVELS):
            outcome = await charges.look(levels[start : start + MAX_LEVELS], subjects[start : start + MAX_LEVELS])
            if outcome is None:
                continue
            is_degraded |= outcome.degraded
            standings = outcome.standings or (outcome.remaining, outcome.reset_ms)
            items += [
                _standing(limit.name, limit.quota, limit.window, standings[2 * at : 2 * at + 2])
                for at, limit in enumerate(outcome.limits)
                if outcome.is_decided and not limit.is_shadow
            ]
        return Standings(items=items, degraded=is_degraded)

    @router.get("/usage", responses=refuses("Limits", 404, 422))
    async def get_usage(rule: RuleName, id: Counted) -> Standing:  # noqa: A002  the name in the query
        """Return how somebody stands at a rule. Takes `limits:read`."""
        found = await stub.GetUsage(pb.GetUsageRequest(rule=rule, subject=id.split("|")))
        window = ceil(found.policy.period.ToNanoseconds() / 1e9)
        reset_ms = found.reset.ToMilliseconds()
        return _standing(found.policy.name, found.policy.limit, window, (found.remaining, reset_ms))

    @router.delete("/usage", status_code=204, responses=refuses("Limits", 404, is_change=True))
    async def reset_usage(rule: RuleName, id: Counted, exchange: Changing) -> Response:  # noqa: A002
        """Give somebody their whole limit back. Takes `limits:write`."""
        await answered(exchange, stub.ResetUsage, pb.ResetUsageRequest(rule=rule, subject=id.split("|")))
        return Response(status_code=204)

    return router


def _standing(name: str, limit: int, window: int, numbers: Sequence[int]) -> Standing:
    remaining, reset_ms = numbers
    return Standing(name=name, limit=limit, window=window, remaining=remaining, reset=-(-reset_ms // 1000))
