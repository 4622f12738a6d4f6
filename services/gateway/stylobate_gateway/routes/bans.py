"""Who is banned: `/v1/bans`, for operators."""

from datetime import UTC

import grpc.aio
from fastapi import APIRouter, Response
from google.protobuf.duration_pb2 import Duration
from stylobate.api.ratelimit.v1 import ratelimit_service_pb2 as pb
from stylobate.api.ratelimit.v1.ratelimit_service_pb2_grpc import RateLimitServiceStub

from stylobate_gateway.document.answers import refuses
from stylobate_gateway.idempotency import Changing, answered
from stylobate_gateway.routes.route import area
from stylobate_gateway.schemas.common import PageSize, PageToken
from stylobate_gateway.schemas.limits import Ban, BanList, BanPut, Level, OfLevel, Subject


def routes(channel: grpc.aio.Channel) -> APIRouter:
    """Return the area's routes over the channel to ratelimit."""
    router = area("/v1/bans", "limits")
    stub = RateLimitServiceStub(channel)

    @router.get("", responses=refuses("Limits", 422))
    async def list_bans(level: OfLevel = "", page_size: PageSize = 50, page_token: PageToken = "") -> BanList:
        """List the bans in force. Takes `bans:read`."""
        response = await stub.ListBans(pb.ListBansRequest(level=level, page_size=page_size, page_token=page_token))
        return BanList(items=list(map(_ban, response.bans)), next_page_token=response.next_page_token or None)

    @router.get("/{level}/{id:path}", responses=refuses("Limits", 404, 422))
    async def get_ban(level: Level, id: Subject) -> Ban:  # noqa: A002  the name in the path
        """Return the ban that holds for a subject; for an address that may be one of a network around it. Takes `bans:read`."""
        return _ban((await stub.GetBan(pb.GetBanRequest(subject=pb.BanSubject(level=level, subject=id)))).ban)

    @router.put("/{level}/{id:path}", responses=refuses("Limits", has_body=True, is_change=True))
    async def put_ban(level: Level, id: Subject, body: BanPut, exchange: Changing) -> Ban:  # noqa: A002
        """Ban a subject at once and everywhere; a ban that it has already is replaced. Takes `bans:write`."""
        duration = Duration(seconds=body.expires_in) if body.expires_in else None
        subject = pb.BanSubject(level=level, subject=id)
        request = pb.PutBanRequest(subject=subject, duration=duration, reason=body.reason)
        return _ban((await answered(exchange, stub.PutBan, request)).ban)

    @router.delete("/{level}/{id:path}", status_code=204, responses=refuses("Limits", 404, is_change=True))
    async def delete_ban(level: Level, id: Subject, exchange: Changing) -> Response:  # noqa: A002
        """Lift a ban, and forget what led to it. Takes `bans:write`."""
        await answered(exchange, stub.DeleteBan, pb.DeleteBanRequest(subject=pb.BanSubject(level=level, subject=id)))
        return Response(status_code=204)

    return router


def _ban(ban: pb.Ban) -> Ban:
    return Ban(
        level=ban.level,
        id=ban.subject,
        reason=ban.reason,
        rule=ban.rule or None,
        actor=ban.actor or None,
        strikes=ban.strikes,
        started_at=ban.started_at.ToDatetime(tzinfo=UTC),
        until=ban.until.ToDatetime(tzinfo=UTC) if ban.HasField("until") else None,
    )
