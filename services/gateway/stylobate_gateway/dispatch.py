"""Action calls, taken in front of FastAPI's stack: find the action by its path, pass the body on, answer with its output."""

from collections.abc import Collection, Mapping

import grpc.aio
from stylobate.api.actions.v1.action_service_pb2 import ExecuteActionRequest, RateLimit
from stylobate.api.actions.v1.action_service_pb2_grpc import ActionServiceStub
from stylobate.errors import StylobateError
from stylobate.rpc.limits import RateLimitedError

from stylobate_gateway.asgi import Application, Headers, Receive, Scope, Send, answer, read_body
from stylobate_gateway.catalogue import Catalogue
from stylobate_gateway.errors import MethodNotAllowedError, UnsupportedMediaTypeError
from stylobate_gateway.exchange import Exchange, exchange_of

PREFIX = "/v1/actions/"
_JSON = "application/json"


class ActionDispatcher:
    """Takes ``POST /v1/actions/<name>`` and the routes that actions declare; everything else goes on."""

    def __init__(self, inner: Application, channel: grpc.aio.Channel, catalogue: Catalogue) -> None:
        self._inner = inner
        self._execute = ActionServiceStub(channel).ExecuteAction
        self._catalogue = catalogue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = exchange_of(scope)
        path = exchange.path
        if path.startswith(PREFIX):
            if exchange.method == "POST":
                await self._run(path[len(PREFIX) :], exchange, receive, send)
                return
            if exchange.method not in ("GET", "HEAD", "OPTIONS"):
                raise MethodNotAllowedError(metadata={"allow": "GET, HEAD, POST"})
        elif (routes := self._catalogue.routes.get(path)) is not None:
            await self._run(_action_of(routes, exchange.method), exchange, receive, send)
            return
        if exchange.method == "HEAD":  # what answers GET answers HEAD; the server leaves the body out (RFC 9110 §9.3.2)
            scope = {**scope, "method": "GET"}
        await self._inner(scope, receive, send)

    async def _run(self, name: str, exchange: Exchange, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        if body and exchange.media_type != _JSON:
            raise UnsupportedMediaTypeError
        try:
            response = await self._execute(ExecuteActionRequest(action=name, input=body, content_type="application/json"))
        except StylobateError as error:
            if error.reason == RateLimitedError.reason:
                exchange.rate_limit = _refused_headers(exchange.rate_limit, error.metadata)
            raise
        if response.HasField("rate_limit"):
            exchange.rate_limit = _limit_headers(exchange.rate_limit, response.rate_limit)
        await answer(send, 200, [(b"content-type", response.content_type.encode())], response.output)


def allow(methods: Collection[str]) -> str:
    """Return the header ``Allow`` for what a resource declares: where there is GET there is HEAD."""
    return ", ".join(sorted({*methods, "HEAD"} if "GET" in methods else methods))


def _action_of(routes: Mapping[str, str], method: str) -> str:
    """Return the action of a declared route. Raises MethodNotAllowedError."""
    name = routes.get("GET" if method == "HEAD" else method)
    if name is None:
        raise MethodNotAllowedError(metadata={"allow": allow(routes)})
    return name


def _limit_headers(edge: Headers, limit: RateLimit) -> Headers:
    """Return the headers of an answer: the action's own limit stands first."""
    if not edge and not limit.policy:
        return edge
    reset = limit.reset.seconds + (limit.reset.nanos > 0)
    return _before(
        edge, f'"{limit.policy}";q={limit.quota};w={limit.window.seconds}', f'"{limit.policy}";r={limit.remaining};t={reset}'
    )


def _refused_headers(edge: Headers, limit: Mapping[str, str]) -> Headers:
    """Return the headers of a 429: the limit that refused stands first, as its error describes it."""
    if not limit.keys() >= {"policy", "quota", "window", "remaining", "reset"}:
        return edge  # a handler's own refusal
    name = limit["policy"]
    return _before(
        edge, f'"{name}";q={limit["quota"]};w={limit["window"]}', f'"{name}";r={limit["remaining"]};t={limit["reset"]}'
    )


def _before(edge: Headers, policy: str, state: str) -> Headers:
    """Put a limit before those of the edge: lists of one header each (RFC 9651)."""
    found = dict(edge)
    return [
        (b"ratelimit-policy", b", ".join(part for part in (policy.encode(), found.get(b"ratelimit-policy")) if part)),
        (b"ratelimit", b", ".join(part for part in (state.encode(), found.get(b"ratelimit")) if part)),
    ]
