"""The first administrator: `/v1/auth/first-admin`, and in development the page that sends it."""

from pathlib import Path

import grpc.aio
from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse
from stylobate.api.auth.v1.first_admin_service_pb2 import CreateFirstAdminRequest
from stylobate.api.auth.v1.first_admin_service_pb2_grpc import FirstAdminServiceStub

from stylobate_gateway.document.answers import refuses
from stylobate_gateway.html import SCRIPT, first_admin_page
from stylobate_gateway.idempotency import Changing, answered
from stylobate_gateway.routes.accounts import NO_TOKEN, OPEN, user_of
from stylobate_gateway.routes.route import area
from stylobate_gateway.schemas.accounts import FirstAdmin, Registered

_PAGE = "/first-admin"
_SCRIPT = f"{_PAGE}/send.js"


def routes(channel: grpc.aio.Channel, *, with_page: bool) -> APIRouter:
    """Return the area's routes over the channel to auth.

    :param with_page: whether there is the page.
    """
    router = area("", "accounts")
    stub = FirstAdminServiceStub(channel)

    @router.post("/v1/auth/first-admin", status_code=201, responses=refuses("Accounts", **OPEN), openapi_extra=NO_TOKEN)
    async def create_first_admin(body: FirstAdmin, exchange: Changing) -> Registered:
        """Create the first administrator's account, by the link that the operator was given: once, and while there is none."""
        request = CreateFirstAdminRequest(
            token=body.token, email=body.email, password=body.password, display_name=body.display_name
        )
        return Registered(user=user_of((await answered(exchange, stub.CreateFirstAdmin, request)).user))

    if with_page:
        script = (Path(__file__).parent / "first_admin.js").read_bytes()

        @router.get(_PAGE, include_in_schema=False, openapi_extra=NO_TOKEN)
        async def page() -> HTMLResponse:
            """Return the form."""
            return first_admin_page(_SCRIPT)

        @router.get(_SCRIPT, include_in_schema=False, openapi_extra=NO_TOKEN)
        async def send() -> Response:
            """Return what sends it."""
            return Response(script, media_type="text/javascript", headers=SCRIPT)

    return router
