"""The FastAPI application behind the dispatcher: its routes, its errors, its document."""

from datetime import timedelta
from typing import NoReturn

import grpc.aio
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.routing import Route
from stylobate.declarations.compiled import pointer
from stylobate.errors import InvalidInputError, StylobateError, UnavailableError, Violation

from stylobate_gateway.catalogue import Catalogue
from stylobate_gateway.dispatch import allow
from stylobate_gateway.document.openapi import OpenApi
from stylobate_gateway.errors import MalformedJsonError, MethodNotAllowedError, RouteNotFoundError
from stylobate_gateway.middleware.nobody_first import NobodyFirst
from stylobate_gateway.middleware.refusals import Refusals
from stylobate_gateway.routes import accounts, actions, site, state
from stylobate_gateway.routes.query import KNOWN_QUERY


def build_application(channels: dict[str, grpc.aio.Channel], catalogue: Catalogue, *, version: str, with_home: bool) -> FastAPI:
    """Return the application over the channels ``auth``, ``state`` and ``actions``."""
    app: FastAPI = FastAPIOffline(
        redoc_url=None,
        title="Stylobate",
        swagger_ui_parameters={"persistAuthorization": True},
        generate_unique_id_function=lambda route: route.name,
        redirect_slashes=False,  # a path either exists or does not; nobody is sent elsewhere with a token in hand
    )
    api = (accounts.routes(channels["auth"]), state.routes(channels["state"]), actions.routes(channels["actions"]))
    pages = site.routes(channels["auth"], catalogue, with_home=with_home)
    for router in api:
        app.include_router(router, dependencies=[KNOWN_QUERY])
    app.include_router(pages)
    routers = (*api, pages)
    app.state.catalogue = catalogue
    app.state.routes = [route for part in (app, *routers) for route in part.routes if isinstance(route, Route)]
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _starlette)
    app.add_middleware(NobodyFirst, channel=channels["state"])
    app.add_middleware(Refusals)  # in front of Starlette's own last resort, which would answer a defect in plain text
    app.openapi = OpenApi(app, catalogue, version).document  # type: ignore[method-assign]  # FastAPI's documented way
    return app


async def _invalid(_request: Request, error: Exception) -> NoReturn:
    """Turn pydantic's findings into pointers; a body that is no JSON is 400."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    malformed = [entry for entry in found if entry["type"] == "json_invalid"]
    if malformed:
        raise MalformedJsonError(f"The body is not valid JSON: {malformed[0]['ctx']['error']}") from None
    raise InvalidInputError(violations=[Violation(pointer([*entry["loc"][1:]]), entry["msg"]) for entry in found]) from None


def _allowed(request: Request) -> str:
    """Return the methods of every route with this path: the router names those of the first alone (RFC 9110 §15.5.6)."""
    routes: list[Route] = request.app.state.routes
    found = [route.methods or set() for route in routes if route.path_regex.match(request.scope["path"])]
    return allow(set().union(*found))


async def _starlette(request: Request, error: Exception) -> NoReturn:
    """Turn what the router itself refuses into problems."""
    match error.status_code if isinstance(error, HTTPException) else None:
        case 404:
            raise _not_found(request) from None
        case 405:
            raise MethodNotAllowedError(metadata={"allow": _allowed(request)}) from None
        case 400:  # a body that could not be read
            raise MalformedJsonError from None
        case _:
            raise error


def _not_found(request: Request) -> StylobateError:
    """Return what an unknown path is answered with: before the catalogue was read nobody knows the routes of actions."""
    catalogue: Catalogue = request.app.state.catalogue
    if catalogue.is_read or request.scope["path"].startswith("/v1/"):
        return RouteNotFoundError()
    return UnavailableError("The actions of this platform are not known yet.", retry_after=timedelta(seconds=1))
