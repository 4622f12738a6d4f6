"""Pages for people, and the OpenAPI document."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import fastapi_offline
from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from stylobate_gateway.catalogue import Catalogue
from stylobate_gateway.document.problems import refuses
from stylobate_gateway.errors import RouteNotFoundError
from stylobate_gateway.pages.home import home_page
from stylobate_gateway.pages.page import HEADERS, docs_page
from stylobate_gateway.pages.problem import problem_page
from stylobate_gateway.routes.caller import NEEDS_TOKEN
from stylobate_gateway.schemas.common import in_path

ASSETS = "/static-offline-docs"
_START = Path(__file__).parents[1] / "pages" / "start.js"
_SCRIPT = {"cache-control": "no-cache", **HEADERS}

ProblemName = Annotated[str, in_path("^[a-z][a-z0-9-]*$", 128, "state-not-found")]


class Assets(StaticFiles):
    """The scripts and styles of the API's page, from the package that brings them along."""

    def __init__(self) -> None:
        super().__init__(directory=Path(fastapi_offline.__file__).parent / "static")

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        """Return a file."""
        response = super().file_response(*arguments, **options)
        response.headers.update(HEADERS)
        return response


def routes(catalogue: Catalogue, document: Callable[[], bytes], *, with_home: bool, is_open: bool) -> APIRouter:
    """Return the routes.

    :param document: renders the OpenAPI document.
    :param with_home: whether there is a home page.
    :param is_open: whether what there is to call is shown to everyone: else the document needs a token, and ``/docs`` is not.
    """
    router = APIRouter()

    @router.get("/openapi.json", include_in_schema=False, dependencies=[] if is_open else [NEEDS_TOKEN])
    def openapi() -> Response:  # in a thread: making it takes a while when modules have changed
        """Return the OpenAPI document."""
        return Response(document(), media_type="application/json")

    @router.get(
        "/problems/{name}",
        tags=["standards"],
        response_class=HTMLResponse,
        responses=refuses("Site", 404, is_public=True),
        openapi_extra={"security": []},
    )
    async def problem(name: ProblemName) -> HTMLResponse:
        """Return the page of a problem type."""
        page = problem_page(name, catalogue.actions)
        if page is None:
            raise RouteNotFoundError
        return page

    if is_open:

        @router.get("/docs", include_in_schema=False)
        async def docs() -> HTMLResponse:
            """Return the page of the API."""
            return docs_page(ASSETS)

        @router.get("/docs/start.js", include_in_schema=False)
        async def start() -> Response:
            """Return what starts that page."""
            return Response(script, media_type="text/javascript", headers=_SCRIPT)

        script = _START.read_bytes()

    if with_home:

        @router.get("/", include_in_schema=False)
        async def home() -> HTMLResponse:
            """Return the home page."""
            return home_page(catalogue.actions)

    return router
