"""The sessions of the token's account: `/v1/auth/sessions`."""

from datetime import UTC

import grpc.aio
from fastapi import APIRouter, Response
from stylobate.api.auth.v1 import session_service_pb2 as pb
from stylobate.api.auth.v1.session_service_pb2_grpc import SessionServiceStub

from stylobate_gateway.document.answers import refuses
from stylobate_gateway.idempotency import Changing, answered
from stylobate_gateway.routes.route import area
from stylobate_gateway.schemas.accounts import OpenSession, SessionList
from stylobate_gateway.schemas.common import PageSize, PageToken, in_path

_ID = in_path("^[0-9a-f-]{36}$", 36, "01920c6e-7b1a-7c3e-8f2d-1a2b3c4d5e6f")


def routes(channel: grpc.aio.Channel) -> APIRouter:
    """Return the area's routes over the channel to auth."""
    router = area("/v1/auth/sessions", "accounts")
    stub = SessionServiceStub(channel)

    @router.get("", responses=refuses("Accounts", 422))
    async def list_sessions(page_size: PageSize = 50, page_token: PageToken = "") -> SessionList:
        """List the sessions of the token's account that live, the newest first."""
        response = await stub.ListSessions(pb.ListSessionsRequest(page_size=page_size, page_token=page_token))
        return SessionList(items=list(map(to_session, response.sessions)), next_page_token=response.next_page_token or None)

    @router.delete("", status_code=204, responses=refuses("Accounts", is_change=True))
    async def revoke_other_sessions(exchange: Changing) -> Response:
        """End every session of the account but the token's own: everywhere within a second."""
        await answered(exchange, stub.RevokeOtherSessions, pb.RevokeOtherSessionsRequest())
        return Response(status_code=204)

    @router.delete("/{session_id}", status_code=204, responses=refuses("Accounts", 404, is_change=True))
    async def revoke_session(exchange: Changing, session_id: str = _ID) -> Response:
        """End a session of the account: its tokens are refused everywhere within a second."""
        await answered(exchange, stub.RevokeSession, pb.RevokeSessionRequest(session_id=session_id))
        return Response(status_code=204)

    return router


def to_session(session: pb.Session) -> OpenSession:
    """Return a session as a client sees it."""
    return OpenSession(
        id=session.id,
        opened_at=session.opened_at.ToDatetime(tzinfo=UTC),
        seen_at=session.seen_at.ToDatetime(tzinfo=UTC),
        expires_at=session.expires_at.ToDatetime(tzinfo=UTC),
        address=session.address,
        agent=session.agent,
        device=session.device,
        current=session.current,
    )
