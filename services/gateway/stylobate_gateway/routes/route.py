"""How a route of the API is held to what it declares: who may ask, which query it knows, which bodies it takes."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response, params
from fastapi.dependencies.utils import get_flat_params
from starlette.routing import BaseRoute, Match
from stylobate import strict_json
from stylobate.errors import InvalidInputError, MalformedJsonError, UnauthenticatedError, UnsupportedMediaTypeError, Violation
from stylobate.json_pointer import pointer

from stylobate_gateway.action_input import query_pairs
from stylobate_gateway.errors import ContentCodingUnsupportedError
from stylobate_gateway.exchange import Exchange
from stylobate_gateway.idempotency import has_key, key_of
from stylobate_gateway.routes.filters import BEGINNING
from stylobate_gateway.routes.late import LateRoute
from stylobate_gateway.routes.plain import Handler, plain

_JSON = ("application/json",)
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class ApiRoute(LateRoute):
    """Reads once, when it is made, what its operation in the document says; refuses what does not fit before its code runs.

    A token is needed unless ``security`` is given in ``openapi_extra``. The bodies taken are those of its ``requestBody``, else
    JSON for POST, PUT and PATCH and where the code takes one; what else comes with a body is not read. Queries hold known names
    only, each once.
    """

    is_plain: bool
    """Whether a body is all that it takes: such are found and answered by themselves, with :attr:`answered`."""
    answered: Handler

    def __init__(self, path: str, endpoint: Callable[..., Any], **described: Any) -> None:
        """Take what FastAPI's routes take."""
        super().__init__(path, endpoint, **described)
        self.openapi_extra = described.get("openapi_extra")
        self.tags = described.get("tags") or []
        handle = plain(path, endpoint, described.get("status_code"))
        self.is_plain = handle is not None
        if handle is not None:
            self.answered = self._checked(handle, frozenset(), has_body=True)

    def get_route_handler(self) -> Handler:
        """Return the handler."""
        if self.is_plain:
            return self.answered
        known = frozenset(field.alias for field in get_flat_params(self.dependant) if isinstance(field.field_info, params.Query))
        return self._checked(super().get_route_handler(), known, has_body=self.body_field is not None)

    def _checked(self, handle: Handler, known: Collection[str], *, has_body: bool) -> Handler:
        """Return the handler with what is looked at before it.

        :param known: names of its queries.
        """
        described = self.openapi_extra or {}
        needs_token = "security" not in described
        body = described.get("requestBody", {})
        taken = tuple(body.get("content", _JSON if has_body or _WITH_BODY & {*(self.methods or ())} else ()))
        needs_body = body.get("required", False)
        is_secret = "accounts" in self.tags
        has_filters = described.get("x-stylobate-filters", False)

        async def checked(request: Request) -> Response:
            if needs_token:
                refuse_nobody(request)
            if has_key(request.scope["stylobate"]):
                key_of(request.scope["stylobate"])
            if query := request.scope["query_string"]:
                _check_query(query, known, has_filters=has_filters)
            if taken:
                content = await request.body()
                if content:
                    value = _read(content, request, taken)
                    request._json = value  # noqa: SLF001  where json() keeps what it has read: FastAPI does not read it again
                elif needs_body:
                    raise MalformedJsonError("The body is missing.")
            answer = await handle(request)
            if is_secret:
                answer.headers["cache-control"] = "no-store"  # RFC 6749 §5.1
            return answer

        return checked


def area(prefix: str, tag: str) -> APIRouter:
    """Return the router of an area of the API."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=ApiRoute, generate_unique_id_function=lambda route: route.name)


def by_place(routes: Sequence[BaseRoute]) -> dict[tuple[str, str], ApiRoute]:
    """Return the plain routes by method and path, but for those that others stand before."""
    found: dict[tuple[str, str], ApiRoute] = {}
    for number, route in enumerate(routes):
        if isinstance(route, ApiRoute) and route.is_plain:
            for method in route.methods or ():
                scope = {"type": "http", "method": method, "path": route.path}
                if not any(other.matches(scope)[0] is Match.FULL for other in routes[:number]):
                    found[method, route.path] = route
    return found


def refuse_nobody(request: Request) -> None:
    """Raise UnauthenticatedError where nobody knows who asks."""
    if request.scope["stylobate"].call.principal.is_anonymous:
        raise UnauthenticatedError


def _check_query(query: bytes, known: Collection[str], *, has_filters: bool) -> None:
    seen: set[str] = set()
    found: list[Violation] = []
    for name, _ in query_pairs(query):
        is_known = name in known or (has_filters and name.startswith(BEGINNING))
        if not is_known or name in seen:
            found.append(Violation(pointer([name]), "stands twice" if name in seen else "is not known here"))
        seen.add(name)
    if found:
        raise InvalidInputError(violations=found)


def _read(body: bytes, request: Request, taken: Collection[str]) -> Any:
    """Return the value of a body by the platform's rules of JSON. Raises InvalidInputError: 400, 415, 422."""
    exchange: Exchange = request.scope["stylobate"]
    if exchange.media_type not in taken:
        raise UnsupportedMediaTypeError(f"The body must be {' or '.join(taken)}.")
    if exchange.is_coded:
        raise ContentCodingUnsupportedError
    try:
        return strict_json.loads(body)
    except strict_json.JsonMalformedError as error:
        raise MalformedJsonError(f"The body is not valid JSON: {error}") from None
    except strict_json.JsonRefusedError as error:
        raise InvalidInputError(violations=[error.violation]) from None
