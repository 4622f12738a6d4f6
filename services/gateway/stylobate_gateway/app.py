"""The FastAPI application behind the dispatcher: its routes, its errors, its document."""

from datetime import timedelta
from typing import NoReturn

import grpc.aio
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Route
from stylobate.errors import InvalidInputError, MalformedJsonError, StylobateError, UnavailableError, Violation
from stylobate.http.errors import MethodNotAllowedError
from stylobate.json_pointer import pointer

from stylobate_gateway.catalogue import Catalogue
from stylobate_gateway.dispatch import allow
from stylobate_gateway.document.openapi import OpenApi
from stylobate_gateway.errors import RouteNotFoundError
from stylobate_gateway.middleware.nobody_first import NobodyFirst
from stylobate_gateway.middleware.refusals import Refusals
from stylobate_gateway.routes import accounts, actions, pages, site, state
from stylobate_gateway.routes.query import KNOWN_QUERY


def build_application(
    channels: dict[str, grpc.aio.Channel], catalogue: Catalogue, *, version: str, with_home: bool, is_open: bool
) -> FastAPI:
    """Return the application over the channels ``auth``, ``state`` and ``actions``.

    :param is_open: whether what there is to call is shown to everyone.
    """
    app = FastAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # pages are our own
        generate_unique_id_function=lambda route: route.name,
        redirect_slashes=False,  # a path either exists or does not; nobody is sent elsewhere with a token in hand
    )
    document = OpenApi(app, catalogue, version, is_open=is_open)
    api = (
        accounts.routes(channels["auth"]),
        state.routes(channels["state"]),
        actions.routes(channels["actions"], is_open=is_open),
    )
    others = (
        site.routes(channels["auth"]),
        pages.routes(catalogue, document.rendered, with_home=with_home, is_open=is_open),
    )
    for router in api:
        app.include_router(router, dependencies=[KNOWN_QUERY])
    for router in others:
        app.include_router(router)
    if is_open:
        app.mount(pages.ASSETS, pages.Assets())
    routers = (*api, *others)
    app.state.catalogue = catalogue
    app.state.routes = [route for part in (app, *routers) for route in part.routes if isinstance(route, Route)]
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _starlette)
    app.add_middleware(NobodyFirst, channel=channels["state"])
    app.add_middleware(Refusals)  # in front of Starlette's own last resort, which would answer a defect in plain text
    return app


async def _invalid(_request: Request, error: Exception) -> NoReturn:
    """Turn pydantic's findings into pointers; a body that is not JSON is 400."""
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
