"""The FastAPI application behind the dispatcher: its routes, its errors, its document."""

import grpc.aio
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.routing import Route
from stylobate.errors import InternalError, InvalidInputError, StylobateError, Violation

from stylobate_gateway.catalogue import Catalogue
from stylobate_gateway.errors import MalformedJsonError, MethodNotAllowedError, RouteNotFoundError
from stylobate_gateway.exchange import exchange_of
from stylobate_gateway.openapi import OpenApi
from stylobate_gateway.problems import problem_body, problem_headers
from stylobate_gateway.routes import accounts, actions, site, state


def build_application(channels: dict[str, grpc.aio.Channel], catalogue: Catalogue, *, version: str, with_home: bool) -> FastAPI:
    """Return the application over the channels ``auth``, ``state`` and ``actions``."""
    app: FastAPI = FastAPIOffline(redoc_url=None, title="Stylobate", swagger_ui_parameters={"persistAuthorization": True})
    routers = (
        accounts.routes(channels["auth"]),
        state.routes(channels["state"]),
        actions.routes(channels["actions"]),
        site.routes(channels["auth"], catalogue, with_home=with_home),
    )
    for router in routers:
        app.include_router(router)
    app.state.routes = [route for part in (app, *routers) for route in part.routes if isinstance(route, Route)]
    app.add_exception_handler(StylobateError, _typed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _starlette)
    app.openapi = OpenApi(app, catalogue, version).document  # type: ignore[method-assign]  # FastAPI's documented way
    return app


def _answer(request: Request, error: StylobateError) -> Response:
    exchange = exchange_of(request.scope)
    exchange.error = error
    body = problem_body(error, instance=exchange.path, request_id=exchange.request_id)
    headers = {name.decode(): value.decode("latin-1") for name, value in problem_headers(error)}
    return Response(b"" if exchange.method == "HEAD" else body, status_code=error.http_status, headers=headers)


async def _typed(request: Request, error: Exception) -> Response:
    return _answer(request, error if isinstance(error, StylobateError) else InternalError())


async def _invalid(request: Request, error: Exception) -> Response:
    """Turn pydantic's findings into pointers; a body that is no JSON is 400."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    malformed = [entry for entry in found if entry["type"] == "json_invalid"]
    if malformed:
        return _answer(request, MalformedJsonError(f"The body is not valid JSON: {malformed[0]['ctx']['error']}"))
    return _answer(request, InvalidInputError(violations=[Violation(_pointer(entry["loc"]), entry["msg"]) for entry in found]))


def _allowed(request: Request) -> str:
    """Return the methods of every route with this path: the router names those of the first alone (RFC 9110 §15.5.6)."""
    routes: list[Route] = request.app.state.routes
    found = [route.methods or set() for route in routes if route.path_regex.match(request.scope["path"])]
    return ", ".join(sorted(set().union(*found)))


def _pointer(place: tuple[int | str, ...]) -> str:
    """Return ``/items/0`` for a place in the body, ``query/page_size`` for one elsewhere."""
    where, *path = place
    pointer = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)
    return pointer if where == "body" else f"{where}{pointer}"


async def _starlette(request: Request, error: Exception) -> Response:
    """Turn what the router itself refuses into problems."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:  # noqa: PLR2004  HTTP
        return _answer(request, RouteNotFoundError())
    if status == 405:  # noqa: PLR2004  HTTP
        return _answer(request, MethodNotAllowedError(metadata={"allow": _allowed(request)}))
    if status == 400:  # noqa: PLR2004  HTTP: a body that could not be read
        return _answer(request, MalformedJsonError())
    return _answer(request, InternalError())
