"""Passwords: `/v1/auth/password`."""

import grpc.aio
from fastapi import APIRouter, Response
from stylobate.api.auth.v1 import auth_service_pb2 as auth
from stylobate.api.auth.v1.auth_service_pb2_grpc import AuthServiceStub

from stylobate_gateway.document.answers import refuses
from stylobate_gateway.idempotency import Changing, answered
from stylobate_gateway.routes.accounts import NO_TOKEN, OPEN
from stylobate_gateway.routes.route import area
from stylobate_gateway.schemas.accounts import PasswordChange, PasswordForgotten, PasswordReset


def routes(channel: grpc.aio.Channel) -> APIRouter:
    """Return the area's routes over the channel to auth."""
    router = area("/v1/auth", "accounts")
    stub = AuthServiceStub(channel)

    @router.post("/password/change", status_code=204, responses=refuses("Accounts", has_body=True, is_change=True))
    async def change_password(body: PasswordChange, exchange: Changing) -> Response:
        """Replace the password of the token's account. Every other session ends, everywhere within a second."""
        request = auth.ChangePasswordRequest(current_password=body.current_password, new_password=body.new_password)
        await answered(exchange, stub.ChangePassword, request)
        return Response(status_code=204)

    @router.post(
        "/password/forgot",
        status_code=202,
        responses=refuses("Accounts", **OPEN),
        openapi_extra=NO_TOKEN,
        response_class=Response,
    )
    async def forgot_password(body: PasswordForgotten, exchange: Changing) -> Response:
        """Send a mail to choose another password, if an account has the address; the answer is the same if none has."""
        await answered(exchange, stub.RequestPasswordReset, auth.RequestPasswordResetRequest(email=body.email))
        return Response(status_code=202)

    @router.post("/password/reset", status_code=204, responses=refuses("Accounts", **OPEN), openapi_extra=NO_TOKEN)
    async def reset_password(body: PasswordReset, exchange: Changing) -> Response:
        """Choose another password with the token of a mail, which works once. Every session of the account ends."""
        request = auth.ResetPasswordRequest(token=body.token, new_password=body.new_password)
        await answered(exchange, stub.ResetPassword, request)
        return Response(status_code=204)

    return router
