"""Action calls, taken in front of FastAPI's stack: find the action by its path, pass its input on, answer with its output."""

import asyncio
from collections.abc import Collection

import grpc.aio
from stylobate.api.actions.v1.action_service_pb2 import ExecuteActionRequest, RateLimit
from stylobate.api.actions.v1.action_service_pb2_grpc import ActionServiceStub
from stylobate.declarations.parameters import RouteInput
from stylobate.errors import StylobateError, UnauthenticatedError, UnsupportedMediaTypeError
from stylobate.http.asgi import Application, LimitText, Receive, Scope, Send, answer, limit_text, read_body
from stylobate.http.errors import MethodNotAllowedError

from stylobate_gateway.action_input import action_input, check_query
from stylobate_gateway.catalogue import BODY, CalledAction, Catalogue, Found
from stylobate_gateway.errors import BodyNotAllowedError, ContentCodingUnsupportedError, RouteNotFoundError
from stylobate_gateway.exchange import Exchange

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
        exchange: Exchange = scope["stylobate"]
        catalogue = self._catalogue
        path = exchange.path
        if b"%" in exchange.instance and (path.endswith("\n") or b"%2f" in exchange.instance.lower()):
            # Starlette's routes end with `$`, which passes over a line feed; a slash that was sent encoded separates nothing
            raise RouteNotFoundError
        if query := scope["query_string"]:
            check_query(query)
        method = "GET" if exchange.method == "HEAD" else exchange.method  # what answers GET answers HEAD (RFC 9110 §9.3.2)
        if path.startswith(PREFIX):
            name = path[len(PREFIX) :]
            if method == "POST":
                action = catalogue.called.get(name)
                exchange.route = PREFIX + ("{name}" if action is None else name)
                # whether one exists that is not in the catalogue, its service says
                await self._run(Found(action or CalledAction(name), BODY), exchange, scope, receive, send)
                return
            if method != "GET" and (name in catalogue.called or not catalogue.is_read):
                raise MethodNotAllowedError(metadata={"allow": "GET, HEAD, POST"})
        elif isinstance(found := catalogue.routes.find(method, path, exchange.instance), Found):
            exchange.route = PREFIX + found.action.name
            await self._run(found, exchange, scope, receive, send)
            return
        elif found:
            raise MethodNotAllowedError(metadata={"allow": allow(found)})
        if exchange.method == "HEAD":  # the server leaves the body out
            scope = {**scope, "method": "GET"}
        await self._inner(scope, receive, send)

    async def _run(self, found: Found, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        action, shape, values = found
        call, query = exchange.call, scope["query_string"]
        body = await read_body(receive)
        if action.is_running and (body or query or shape.is_object):
            try:
                _check_body(shape, exchange, body)
                body = action_input(shape, values, query, body)
            except StylobateError:
                if call.principal.is_anonymous and not action.is_public:
                    raise UnauthenticatedError from None  # who may not ask at all is not told how
                raise
        if action.timeout_s is not None:
            call.deadline = max(call.deadline, self._loop.time() + action.timeout_s)
        request = ExecuteActionRequest(action=action.name, input=body, content_type=_JSON)
        executing = self._execute(request, timeout=action.timeout_s)
        del body, request  # it is under way, encoded
        response = await executing
        if response.HasField("rate_limit"):
            exchange.limits.insert(0, _limit_text(response.rate_limit))
        await answer(send, 200, [(b"content-type", response.content_type.encode())], response.output)


def allow(methods: Collection[str]) -> str:
    """Return the header ``Allow`` for what a resource declares: where there is GET there is HEAD."""
    return ", ".join(sorted({*methods, "HEAD"} if "GET" in methods else methods))


def _check_body(shape: RouteInput, exchange: Exchange, body: bytes) -> None:
    """Refuse a body that is not taken, or of another type."""
    if not body:
        return
    if not shape.has_body:
        raise BodyNotAllowedError
    if exchange.media_type != _JSON:
        raise UnsupportedMediaTypeError
    if exchange.is_coded:
        raise ContentCodingUnsupportedError


def _limit_text(limit: RateLimit) -> LimitText:
    reset = limit.reset.seconds + (limit.reset.nanos > 0)
    return limit_text(limit.policy, limit.quota, limit.window.seconds, limit.remaining, reset)
