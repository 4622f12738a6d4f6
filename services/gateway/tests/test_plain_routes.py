"""Routes that are answered without FastAPI's way of solving them: which these are, and that nobody can tell."""

from contextlib import AsyncExitStack
from socket import socket
from typing import Any

import grpc.aio
import orjson
import pytest
from fastapi import APIRouter, Request
from fastapi.exceptions import FastAPIError, RequestValidationError
from fastapi.routing import APIRoute
from stylobate_gateway.idempotency import Changing, changing
from stylobate_gateway.routes import (
    access,
    accounts,
    api_keys,
    bans,
    exports,
    grants,
    passwords,
    profile,
    roles,
    service_accounts,
    sessions,
    transactions,
    users,
)
from stylobate_gateway.routes.late import LateRoute
from stylobate_gateway.routes.plain import Handler, plain
from stylobate_gateway.routes.route import ApiRoute, area, by_place
from stylobate_gateway.schemas.accounts import Refresh, User

PARTS: Any = (
    *(access, accounts, api_keys, bans, exports, grants, passwords, profile),
    *(roles, service_accounts, sessions, transactions, users),
)


@pytest.fixture
async def routes() -> Any:
    """Return routes of the platform."""
    async with grpc.aio.insecure_channel("localhost:1") as channel:
        yield [route for part in PARTS for route in part.routes(channel).routes]


async def _refusal(handle: Handler, value: Any) -> list[tuple[Any, str]]:
    async with AsyncExitStack() as stack:
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
            "stylobate": None,
            **{f"fastapi_{name}_astack": stack for name in ("middleware", "inner", "function")},
        }
        request = Request(scope)
        request._body = b"" if value is None else orjson.dumps(value)
        request._json = value
        with pytest.raises(RequestValidationError) as refused:
            await handle(request)
    return [(one["loc"], one["msg"]) for one in refused.value.errors()]


async def test_what_does_not_fit_is_refused_in_the_same_words(routes: list[ApiRoute]) -> None:
    """Of every such route: no body, one of another kind, what is missing, what is of another kind, what is too much."""
    found = by_place(routes)
    assert {("POST", "/v1/auth/refresh"), ("POST", "/v1/auth/register"), ("POST", "/v1/api-keys")} <= found.keys()
    assert ("POST", "/v1/auth/login") not in found  # it takes a header
    for route in found.values():
        short, solving = plain(route.path, route.endpoint, route.status_code), APIRoute.get_route_handler(route)
        assert short is not None
        model = route.dependant.body_params[0].field_info.annotation
        needed = [{}] if model.model_json_schema().get("required") else []
        for value in (None, [], "text", 1, {"strange": 1}, {name: [] for name in model.model_fields}, *needed):
            assert await _refusal(short, value) == await _refusal(solving, value)


def test_only_what_takes_a_body_and_nothing_else(routes: list[ApiRoute]) -> None:
    """And only where no other route is found before it."""
    router: APIRouter = area("/v1", "accounts")

    @router.post("/{any}")
    async def first(any: str) -> None:  # noqa: A002
        """Take every path."""

    @router.post("/second")
    async def second(body: Refresh, exchange: Changing) -> User:
        """Take a body."""
        raise NotImplementedError

    @router.post("/other/third")
    async def third(body: Refresh, exchange: Changing, page: int) -> User:
        """Take a query too."""
        raise NotImplementedError

    assert [route.is_plain for route in router.routes if isinstance(route, ApiRoute)] == [False, True, False]
    assert by_place(router.routes) == {}
    assert by_place(routes)["POST", "/v1/auth/refresh"].name == "refresh"


async def test_fastapi_reads_the_same_from_them(routes: list[ApiRoute]) -> None:
    """Which ones are plain is read from annotations alone, for FastAPI reads a route when it is first needed."""
    for route in routes:
        asked = route.dependant
        others = (asked.path_params, asked.query_params, asked.header_params, asked.cookie_params, asked.response_param_name)
        is_body = len(asked.body_params) == 1 and [one.call for one in asked.dependencies] == [changing]
        assert route.is_plain == (is_body and not any(others)), route.path
    assert {True, False} == {route.is_plain for route in routes}


async def test_what_a_route_is_found_by_is_known_before(routes: list[ApiRoute]) -> None:
    """And it is what FastAPI reads; no body of a plain one is answered with less than that."""
    for route in routes:
        known = dict(vars(route))
        assert "dependant" not in known
        read = APIRoute(route.path, route.endpoint, **known["_described"])
        assert route.dependant.path == read.dependant.path
        names = known.keys() & vars(read).keys() - {"app"}
        assert {"path", "path_regex", "name", "methods", "openapi_extra", "tags"} <= names
        assert {name: known[name] for name in names - {"param_convertors"}} == {
            name: vars(read)[name] for name in names - {"param_convertors"}
        }
        with pytest.raises(AttributeError):
            _ = route.nonsense


def test_what_fastapi_refuses_in_a_route_is_said_each_time() -> None:
    """Not the first time only, and afterwards that the route lacks something."""

    async def unknown() -> socket:
        raise NotImplementedError

    route = LateRoute("/unknown", unknown)
    for name in ("app", "dependant", "app"):
        with pytest.raises(FastAPIError, match="Invalid args for response field"):
            getattr(route, name)
