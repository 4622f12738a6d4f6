"""What is not an API: keys, problem pages, and in development the home page."""

import grpc.aio
from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse
from stylobate.api.auth.v1.token_service_pb2 import GetJwksRequest
from stylobate.api.auth.v1.token_service_pb2_grpc import TokenServiceStub

from stylobate_gateway.catalogue import Catalogue
from stylobate_gateway.errors import RouteNotFoundError
from stylobate_gateway.home import home_page
from stylobate_gateway.problems import problem_page


def routes(auth: grpc.aio.Channel, catalogue: Catalogue, *, with_home: bool) -> APIRouter:
    """Return the routes; the home page only where it is wanted."""
    router = APIRouter()
    tokens = TokenServiceStub(auth)

    @router.get("/.well-known/jwks.json", tags=["standards"], openapi_extra={"security": []})
    async def jwks() -> Response:
        """Return the public keys of access tokens (RFC 7517)."""
        response = await tokens.GetJwks(GetJwksRequest())
        return Response(response.jwks, media_type="application/jwk-set+json", headers={"cache-control": "public, max-age=60"})

    @router.get("/problems/{name}", include_in_schema=False)
    async def problem(name: str) -> HTMLResponse:
        """Return the page of a problem type."""
        page = problem_page(name)
        if page is None:
            raise RouteNotFoundError
        return HTMLResponse(page)

    if with_home:

        @router.get("/", include_in_schema=False)
        async def home() -> HTMLResponse:
            """Return the home page."""
            return HTMLResponse(home_page(catalogue.actions))

    return router
