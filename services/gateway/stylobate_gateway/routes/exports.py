"""What the platform keeps of a person, as one document: the token's account, and others for administrators."""

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
from fastapi import APIRouter, Response
from starlette.responses import StreamingResponse
from stylobate.api.auth.v1 import user_export_service_pb2 as pb
from stylobate.api.auth.v1.user_export_service_pb2_grpc import UserExportServiceStub

from stylobate_gateway.document.answers import refuses
from stylobate_gateway.routes.route import area
from stylobate_gateway.schemas.exports import UserExport
from stylobate_gateway.schemas.users import UserId

_FIELDS = {"content-disposition": 'attachment; filename="account.json"'}
# ruff: noqa: A002  `id`, as the path has it


def routes(channel: grpc.aio.Channel) -> APIRouter:
    """Return the area's routes over the channel to auth."""
    router = area("/v1", "accounts")
    stub = UserExportServiceStub(channel)

    @router.get("/auth/me/export", response_model=UserExport, responses=refuses("Accounts", 422))
    async def export_me() -> Response:
        """Get all that is kept of the token's account. Takes a session whose login was a moment ago."""
        return await _answer(stub.ExportMe(pb.ExportMeRequest()))

    @router.get("/users/{id}/export", response_model=UserExport, responses=refuses("Accounts", 404, 422))
    async def export_user(id: UserId) -> Response:
        """Get all that is kept of an account. Takes `users:export`, and what its roles permit."""
        return await _answer(stub.ExportUser(pb.ExportUserRequest(id=id)))

    return router


async def _answer(call: Any) -> Response:
    """Return the document as it comes, once auth has begun it. Raises StylobateError."""
    return StreamingResponse(_parts(call, await call.read()), headers=_FIELDS, media_type="application/json")


async def _parts(call: Any, message: Any) -> AsyncIterator[bytes]:
    """Yield the bytes. An error on the way ends the answer in its middle, as the missing end of the document tells."""
    try:
        while message is not grpc.aio.EOF:
            yield message.part
            message = await call.read()
    finally:
        call.cancel()
