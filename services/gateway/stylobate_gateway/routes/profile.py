"""What an owner changes of an account: its address and name."""

import grpc.aio
from fastapi import APIRouter, Response
from stylobate.api.auth.v1 import auth_service_pb2 as auth
from stylobate.api.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from stylobate.api.auth.v1.user_service_pb2 import DeleteMeRequest
from stylobate.api.auth.v1.user_service_pb2_grpc import UserServiceStub

from stylobate_gateway.document.answers import refuses
from stylobate_gateway.idempotency import Changing, answered
from stylobate_gateway.routes.accounts import NO_TOKEN, OPEN, user_of
from stylobate_gateway.routes.route import area
from stylobate_gateway.schemas.accounts import EmailChange, EmailProof, Farewell, Profile, User


def routes(channel: grpc.aio.Channel) -> APIRouter:
    """Return the area's routes over the channel to auth."""
    router = area("/v1/auth", "accounts")
    stub, users = AuthServiceStub(channel), UserServiceStub(channel)

    @router.post("/email/verification", status_code=202, responses=refuses("Accounts", is_change=True), response_class=Response)
    async def request_email_verification(exchange: Changing) -> Response:
        """Send a mail that proves the address of the token's account, unless it is proven."""
        await answered(exchange, stub.RequestEmailVerification, auth.RequestEmailVerificationRequest())
        return Response(status_code=202)

    @router.post(
        "/email/change", status_code=202, responses=refuses("Accounts", has_body=True, is_change=True), response_class=Response
    )
    async def change_email(body: EmailChange, exchange: Changing) -> Response:
        """Send a mail to an address that the account is to have; until its token is used it keeps the one it has."""
        await answered(exchange, stub.ChangeEmail, auth.ChangeEmailRequest(email=body.email, password=body.password))
        return Response(status_code=202)

    @router.post("/email/verify", status_code=204, responses=refuses("Accounts", **OPEN), openapi_extra=NO_TOKEN)
    async def verify_email(body: EmailProof, exchange: Changing) -> Response:
        """Use the token of a mail that proves an address, which works once."""
        await answered(exchange, stub.VerifyEmail, auth.VerifyEmailRequest(token=body.token))
        return Response(status_code=204)

    @router.patch("/me", responses=refuses("Accounts", has_body=True, is_change=True))
    async def update_me(body: Profile, exchange: Changing) -> User:
        """Change the name that others see of the token's account."""
        return user_of((await answered(exchange, stub.UpdateMe, auth.UpdateMeRequest(display_name=body.display_name))).user)

    @router.delete("/me", status_code=202, responses=refuses("Accounts", has_body=True, is_change=True), response_class=Response)
    async def delete_me(body: Farewell, exchange: Changing) -> Response:
        """Delete the token's account with all that is its own, here at once, then in all services and modules."""
        await answered(exchange, users.DeleteMe, DeleteMeRequest(password=body.password))
        return Response(status_code=202)

    return router
