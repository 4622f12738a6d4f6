"""What is not an API: keys, problem pages, and in development the home page."""

from typing import Annotated

import grpc.aio
from fastapi import APIRouter
from fastapi.responses import HTMLResponse, JSONResponse
from stylobate.api.auth.v1.token_service_pb2 import GetJwksRequest
from stylobate.api.auth.v1.token_service_pb2_grpc import TokenServiceStub

from stylobate_gateway.catalogue import Catalogue
from stylobate_gateway.document.problems import refuses
from stylobate_gateway.errors import RouteNotFoundError
from stylobate_gateway.home import home_page
from stylobate_gateway.problems import problem_page
from stylobate_gateway.schemas.catalogue import Keys
from stylobate_gateway.schemas.common import in_path

ProblemName = Annotated[str, in_path("^[a-z][a-z0-9-]*$", 128, "state-not-found")]


class _JwkSet(JSONResponse):
    media_type = "application/jwk-set+json"

    def render(self, content: bytes) -> bytes:
        """Return the keys as auth wrote them."""
        return content


def routes(auth: grpc.aio.Channel, catalogue: Catalogue, *, with_home: bool) -> APIRouter:
    """Return the routes; the home page only where it is wanted."""
    router = APIRouter()
    tokens = TokenServiceStub(auth)

    @router.get(
        "/.well-known/jwks.json",
        tags=["standards"],
        response_class=_JwkSet,
        responses={200: {"description": "The keys", "model": Keys}, **refuses("Site", is_public=True)},
        openapi_extra={"security": []},
    )
    async def jwks() -> _JwkSet:
        """Return the public keys of access tokens (RFC 7517)."""
        response = await tokens.GetJwks(GetJwksRequest())
        return _JwkSet(response.jwks, headers={"cache-control": "public, max-age=60"})

    @router.get(
        "/problems/{name}",
        tags=["standards"],
        response_class=HTMLResponse,
        responses=refuses("Site", 404, is_public=True),
        openapi_extra={"security": []},
    )
    async def problem(name: ProblemName) -> HTMLResponse:
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
