"""What answers where no action does: the platform's own routes, over FastAPI's router; what it refuses becomes errors of ours."""

from collections.abc import Awaitable, Iterable
from datetime import timedelta
from typing import Any

import fastapi.utils
import grpc
import grpc.aio
from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.exceptions import HTTPException
from starlette.routing import Route
from stylobate.api.state.v1 import state_service_pb2 as state
from stylobate.api.state.v1.state_service_pb2_grpc import StateServiceStub
from stylobate.declarations.model import NamespaceDeclaration
from stylobate.errors import InvalidInputError, MalformedJsonError, StylobateError, UnavailableError, Violation
from stylobate.http.asgi import Receive, Scope, Send
from stylobate.http.errors import MethodNotAllowedError
from stylobate.json_pointer import pointer
from stylobate.validation import said

from stylobate_gateway.browser_sessions import BrowserSessions
from stylobate_gateway.catalogue import Catalogue
from stylobate_gateway.charges import Charges
from stylobate_gateway.dispatch import allow
from stylobate_gateway.document.openapi import OpenApi
from stylobate_gateway.errors import RouteNotFoundError
from stylobate_gateway.exchange import Exchange
from stylobate_gateway.routes import (
    access,
    accounts,
    actions,
    api_keys,
    audit,
    bans,
    exports,
    first_admin,
    grants,
    limits,
    oauth,
    pages,
    passwords,
    profile,
    roles,
    service_accounts,
    sessions,
    transactions,
    users,
)
from stylobate_gateway.routes import state as objects
from stylobate_gateway.routes.preconditions import NEVER
from stylobate_gateway.routes.route import by_place
from stylobate_gateway.state_reads import StateReads
from stylobate_gateway.watches import StateWatches

# FastAPI would import `pydantic.v1`, 1.5 MB, to refuse its models: here are none
vars(fastapi.utils)["annotation_is_pydantic_v1"] = lambda _annotation: False
STATE = "/v1/state/"
"""Begins the paths of state objects."""
_OF_FORM = frozenset({400, 415, 422})


class Api:
    """ASGI. Raises StylobateError for what is not answered.

    :param channels: to ``auth``, ``state``, ``actions`` and ``ratelimit``.
    :param is_open: whether what there is to call is shown to everyone.
    :param namespaces: of state objects, for the document.
    :param browsers: sessions in cookies; None: none are given.
    """

    def __init__(
        self,
        channels: dict[str, grpc.aio.Channel],
        catalogue: Catalogue,
        charges: Charges,
        reads: StateReads,
        watches: StateWatches,
        *,
        version: str,
        public_url: str,
        with_home: bool,
        is_open: bool,
        namespaces: Iterable[NamespaceDeclaration] = (),
        browsers: BrowserSessions | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._state = StateServiceStub(channels["state"])
        # a path either exists or does not: nobody is sent elsewhere with a token in hand
        router = APIRouter(redirect_slashes=False)
        cookie = "" if browsers is None else browsers.cookie
        document = OpenApi(router.routes, catalogue, version, is_open=is_open, namespaces=namespaces, cookie=cookie)
        for area in (
            *(part.routes(channels["auth"]) for part in (passwords, profile, sessions, exports)),
            accounts.routes(channels["auth"], browsers),
            first_admin.routes(channels["auth"], with_page=with_home),
            api_keys.routes(channels["auth"]),
            access.routes(channels["auth"]),
            roles.routes(channels["auth"]),
            grants.routes(channels["auth"]),
            service_accounts.routes(channels["auth"]),
            users.routes(channels["auth"]),
            transactions.routes(channels["state"]),
            objects.routes(channels["state"], reads, watches),
            actions.routes(channels["actions"], is_open=is_open),
            limits.routes(channels["ratelimit"], charges),
            bans.routes(channels["ratelimit"]),
            audit.routes(channels),
            oauth.routes(channels["auth"], public_url),
            pages.routes(channels["auth"], catalogue, document.rendered, with_home=with_home, is_open=is_open),
        ):
            router.routes += area.routes
        self._routes = [route for route in router.routes if isinstance(route, Route)]
        self._plain = by_place(router.routes)
        self._inner = AsyncExitStackMiddleware(router)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        scope["app"] = self  # the router raises its refusals for who has one, instead of answering them in plain text
        try:
            if (route := self._plain.get((scope["method"], scope["path"]))) is None:
                await self._inner(scope, receive, send)
            else:
                scope["route"] = route
                answer = await route.answered(Request(scope, receive))
                await answer(scope, receive, send)
        except (StylobateError, RequestValidationError, HTTPException) as error:
            refused = error if isinstance(error, StylobateError) else self._refusal_of(error, scope)
            await self.tell_nobody_first(refused, scope["stylobate"])
            if refused is error:
                raise
            raise refused from None

    def _refusal_of(self, error: RequestValidationError | HTTPException, scope: Scope) -> StylobateError:
        """Return what is answered to what the router refuses by itself."""
        if isinstance(error, RequestValidationError):
            return InvalidInputError(violations=[Violation(pointer([*one["loc"][1:]]), said(one)) for one in error.errors()])
        match error.status_code:
            case 400:  # a body that could not be read
                return MalformedJsonError()
            case 404 if scope["raw_path"] == b"*":  # OPTIONS, about the server as a whole (RFC 9110 §9.3.7)
                return MethodNotAllowedError(
                    metadata={"allow": allow(set().union(*(route.methods or set() for route in self._routes)))}
                )
            case 404 if self._catalogue.is_read or scope["path"].startswith("/v1/"):
                return RouteNotFoundError()
            case 404:  # before the catalogue was read nobody knows the routes of actions
                return UnavailableError("The actions of this platform are not known yet.", retry_after=timedelta(seconds=1))
            case 405:  # the router names the methods of one route alone, and others may have the path (RFC 9110 §15.5.6)
                fitting = [route.methods or set() for route in self._routes if route.path_regex.match(scope["path"])]
                return MethodNotAllowedError(metadata={"allow": allow(set().union(*fitting))})
            case _:
                raise error

    async def tell_nobody_first(self, refused: StylobateError, exchange: Exchange) -> None:
        """Who may not ask at all is told so, before anything is said about the form of the request. Raises StylobateError: 401.

        Whether a token is needed for an object depends on its namespace, and the state service knows: it is asked for the same,
        in a form that changes nothing. That costs a call only for what is refused anyway.
        """
        is_of_form = not refused.domain and refused.http_status in _OF_FORM
        if not is_of_form or not exchange.call.principal.is_anonymous or not exchange.path.startswith(STATE):
            return
        namespace, key, _, event, *_ = [*exchange.path.removeprefix(STATE).split("/"), "", "", ""]
        try:
            await self._ask(exchange.method, namespace, key, event)
        except StylobateError as error:
            if error.code is grpc.StatusCode.UNAUTHENTICATED:
                raise

    def _ask(self, method: str, namespace: str, key: str, event: str) -> Awaitable[Any]:
        named: Any = {"namespace": namespace, "key": key, "expected_version": NEVER}
        asked: Awaitable[Any]
        match method:
            case "PUT" if event == "owner":
                asked = self._state.AssignState(state.AssignStateRequest(**named))
            case "PUT":
                asked = self._state.PutState(state.PutStateRequest(data=b"null", **named))
            case "PATCH":
                asked = self._state.PatchState(state.PatchStateRequest(patch=b"null", **named))
            case "DELETE":
                asked = self._state.DeleteState(state.DeleteStateRequest(**named))
            case "POST" if key and event:
                asked = self._state.TransitionState(state.TransitionStateRequest(event=event, **named))
            case "POST" if key:
                asked = self._state.RestoreState(state.RestoreStateRequest(version=1, **named))
            case "POST":
                asked = self._state.TransactStates(state.TransactStatesRequest())
            case _ if key and (key, event) != ("watch", ""):
                asked = self._state.GetState(state.GetStateRequest(keys=[state.StateKey(namespace=namespace, key=key)]))
            case _:
                asked = self._state.ListStates(state.ListStatesRequest(namespace=namespace, page_size=1))
        return asked
