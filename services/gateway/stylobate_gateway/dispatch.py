"""Action calls, taken in front of FastAPI's stack: find the action by its path, pass its input on, answer with its output."""

import asyncio
from collections.abc import Collection

import grpc.aio
from stylobate.api.actions.v1.action_service_pb2 import ExecuteActionRequest, RateLimit
from stylobate.api.actions.v1.action_service_pb2_grpc import ActionServiceStub
from stylobate.clients.limits import carried_limit
from stylobate.declarations.parameters import RouteInput
from stylobate.errors import StylobateError, UnauthenticatedError, UnsupportedMediaTypeError
from stylobate.http.asgi import Application, Receive, Scope, Send, answer, read_body
from stylobate.http.errors import MethodNotAllowedError
from stylobate.http.limits import LimitText, limit_text
from stylobate.rpc.call import call

from stylobate_gateway.action_input import action_input, check_query
from stylobate_gateway.called_action import BODY, CalledAction, Found
from stylobate_gateway.catalogue import Catalogue
from stylobate_gateway.errors import (
    BodyNotAllowedError,
    ContentCodingUnsupportedError,
    RouteNotFoundError,
)
from stylobate_gateway.exchange import Exchange, exchange_of

PREFIX = "/v1/actions/"
_JSON = "application/json"


class ActionDispatcher:
    """Takes ``POST /v1/actions/<name>`` and the routes that actions declare; everything else goes on."""

    def __init__(
        self, inner: Application, channel: grpc.aio.Channel, catalogue: Catalogue, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._inner = inner
        self._execute = ActionServiceStub(channel).ExecuteAction
        self._catalogue = catalogue
        self._loop = loop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = exchange_of(scope)
        path = exchange.path
        if b"%" in exchange.instance and (path.endswith("\n") or b"%2f" in exchange.instance.lower()):
            # Starlette's routes end with `$`, which passes over a line feed; a slash that was sent encoded separates nothing
            raise RouteNotFoundError
        check_query(scope["query_string"])
        method = "GET" if exchange.method == "HEAD" else exchange.method  # what answers GET answers HEAD (RFC 9110 §9.3.2)
        if path.startswith(PREFIX):
            name = path[len(PREFIX) :]
            if method == "POST":
                action = self._catalogue.called.get(name) or CalledAction(name)  # its service says whether it exists
                await self._run(Found(action, BODY), scope, receive, send)
                return
            if method != "GET" and (name in self._catalogue.called or not self._catalogue.is_read):
                raise MethodNotAllowedError(metadata={"allow": "GET, HEAD, POST"})
        elif (found := self._catalogue.routes.find(method, path, exchange.instance)) is not None:
            await self._run(found, scope, receive, send)
            return
        elif methods := self._catalogue.routes.methods(exchange.instance):
            raise MethodNotAllowedError(metadata={"allow": allow(methods)})
        if exchange.method == "HEAD":  # the server leaves the body out
            scope = {**scope, "method": "GET"}
        await self._inner(scope, receive, send)

    async def _run(self, found: Found, scope: Scope, receive: Receive, send: Send) -> None:
        action, shape, values = found
        exchange = exchange_of(scope)
        exchange.route = f"{PREFIX}{action.name if action.name in self._catalogue.called else '{name}'}"
        body = await read_body(receive)
        query: bytes = scope["query_string"]
        if action.is_running and (body or query or shape.is_object):
            try:
                _check_body(shape, exchange, body)
                body = action_input(shape, values, query, body)
            except StylobateError:
                if exchange.principal.is_anonymous and not action.is_public:
                    raise UnauthenticatedError from None  # who may not ask at all is not told how
                raise
        if action.timeout_s is not None:
            current = call()
            current.deadline = max(current.deadline, self._loop.time() + action.timeout_s)
        try:
            executing = self._execute(
                ExecuteActionRequest(action=action.name, input=body, content_type=_JSON), timeout=action.timeout_s
            )
            del body  # it is under way, encoded
            response = await executing
        except StylobateError as error:
            exchange.limits = [*carried_limit(error), *exchange.limits]
            raise
        if response.HasField("rate_limit"):
            exchange.limits.insert(0, _limit_text(response.rate_limit))
        await answer(send, 200, [(b"content-type", response.content_type.encode())], response.output)


def allow(methods: Collection[str]) -> str:
    """Return the header ``Allow`` for what a resource declares: where there is GET there is HEAD."""
    return ", ".join(sorted({*methods, "HEAD"} if "GET" in methods else methods))


def _check_body(shape: RouteInput, exchange: Exchange, body: bytes) -> None:
    """Raise what a body is answered with that is not taken, or of another type."""
    if body and not shape.has_body:
        raise BodyNotAllowedError
    if body and exchange.media_type != _JSON:
        raise UnsupportedMediaTypeError
    if body and exchange.content_coding and exchange.is_coded:
        raise ContentCodingUnsupportedError


def _limit_text(limit: RateLimit) -> LimitText:
    reset = limit.reset.seconds + (limit.reset.nanos > 0)
    return limit_text(limit.policy, limit.quota, limit.window.seconds, limit.remaining, reset)
