"""Pages for people, the OpenAPI document, and the keys of access tokens."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import grpc.aio
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.staticfiles import StaticFiles
from stylobate.api.auth.v1.token_service_pb2 import GetJwksRequest
from stylobate.api.auth.v1.token_service_pb2_grpc import TokenServiceStub

from stylobate_gateway.catalogue import Catalogue
from stylobate_gateway.document.answers import refuses
from stylobate_gateway.errors import RouteNotFoundError
from stylobate_gateway.html import HEADERS, SCRIPT, docs_page, home_page, problem_page
from stylobate_gateway.routes.late import LateRoute
from stylobate_gateway.routes.route import refuse_nobody
from stylobate_gateway.schemas.catalogue import JwkSet
from stylobate_gateway.schemas.common import in_path

ASSETS = "/static-offline-docs"
_START = Path(__file__).parent / "start.js"
_PUBLIC: dict[str, Any] = {"security": []}

ProblemName = Annotated[str, in_path("^[a-z][a-z0-9-]*$", 128, "state-not-found")]


class Assets(StaticFiles):
    """The scripts and styles of the API's page, from the package that brings them along."""

    def __init__(self) -> None:
        super().__init__(packages=[("fastapi_offline", "static")])  # found, not imported: it makes applications of FastAPI's

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        """Return a file."""
        response = super().file_response(*arguments, **options)
        response.headers.update(HEADERS)
        return response


class _JwkSetAnswer(JSONResponse):
    media_type = "application/jwk-set+json"

    def render(self, content: bytes) -> bytes:
        """Return the keys as auth wrote them."""
        return content


def routes(  # noqa: C901  one short function for each route
    auth: grpc.aio.Channel, catalogue: Catalogue, document: Callable[[], bytes], *, with_home: bool, is_open: bool
) -> APIRouter:
    """Return the routes. Queries are passed over: links to pages may come with some.

    :param document: renders the OpenAPI document.
    :param with_home: whether there is a home page.
    :param is_open: whether what there is to call is shown to everyone: else the document needs a token, and ``/docs`` is not.
    """
    router = APIRouter(route_class=LateRoute, generate_unique_id_function=lambda route: route.name)
    tokens = TokenServiceStub(auth)

    @router.get(
        "/.well-known/jwks.json",
        tags=["standards"],
        response_class=_JwkSetAnswer,
        responses={200: {"description": "The keys", "model": JwkSet}, **refuses("Site", is_public=True)},
        openapi_extra=_PUBLIC,
    )
    async def jwks() -> _JwkSetAnswer:
        """Return the public keys of access tokens (RFC 7517)."""
        response = await tokens.GetJwks(GetJwksRequest())
        return _JwkSetAnswer(response.jwks, headers={"cache-control": "public, max-age=60"})

    @router.get("/openapi.json", include_in_schema=False)
    def openapi(request: Request) -> Response:  # in a thread: making it takes a while when modules have changed
        """Return the OpenAPI document."""
        if not is_open:
            refuse_nobody(request)
        return Response(document(), media_type="application/json")

    @router.get(
        "/problems/{name}",
        tags=["standards"],
        response_class=HTMLResponse,
        responses=refuses("Site", 404, is_public=True),
        openapi_extra=_PUBLIC,
    )
    async def problem(name: ProblemName) -> HTMLResponse:
        """Return the page of a problem type."""
        page = problem_page(name, catalogue.rules)
        if page is None:
            raise RouteNotFoundError
        return page

    if is_open:
        router.mount(ASSETS, Assets())

        @router.get("/docs", include_in_schema=False)
        async def docs() -> HTMLResponse:
            """Return the page of the API."""
            return docs_page(ASSETS)

        @router.get("/docs/start.js", include_in_schema=False)
        async def start() -> Response:
            """Return what starts that page."""
            return Response(script, media_type="text/javascript", headers=SCRIPT)

        script = _START.read_bytes()

    if with_home:

        @router.get("/", include_in_schema=False)
        async def home() -> HTMLResponse:
            """Return the home page."""
            return home_page(catalogue.actions)

    return router
