"""Action calls, taken in front of FastAPI's stack: find the action by its path, pass its input on, answer with its output."""

import asyncio
from collections.abc import Awaitable, Collection
from functools import partial
from typing import TypeAlias

import grpc.aio
from stylobate.api.actions.v1.action_service_pb2 import ExecuteActionRequest, ExecuteActionResponse, RateLimit
from stylobate.api.actions.v1.action_service_pb2_grpc import ActionServiceStub
from stylobate.declarations.parameters import RouteInput
from stylobate.errors import StylobateError, UnauthenticatedError, UnsupportedMediaTypeError
from stylobate.http.asgi import Application, LimitText, Receive, Scope, Send, answer, limit_text_of, read_body, standing
from stylobate.http.errors import MethodNotAllowedError
from stylobate.rpc.caller import asking, asking_plainly

from stylobate_gateway.action_input import action_input, check_query
from stylobate_gateway.called_actions import BODY, ESCAPE, PREFIX, Found, is_strange
from stylobate_gateway.catalogue import Catalogue
from stylobate_gateway.errors import BodyNotAllowedError, ContentCodingUnsupportedError, RouteNotFoundError
from stylobate_gateway.exchange import JSON, Exchange
from stylobate_gateway.idempotency import answered, has_key, key_of

Answered: TypeAlias = ExecuteActionResponse | tuple[str, bytes]
"""The answer to a call of an action; where nothing else is to be told, the content type and the output."""
_SHORT = 1024 * 1024
"""Bytes of an input that surely fits into a message."""


class ActionDispatcher:
    """Takes ``POST /v1/actions/<name>`` and the routes that actions declare; everything else goes on."""

    def __init__(
        self, inner: Application, channel: grpc.aio.Channel, catalogue: Catalogue, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._inner = inner
        method = ActionServiceStub(channel).ExecuteAction
        self._execute = asking(method)
        self._plainly = asking_plainly(method)
        self._catalogue = catalogue
        self._loop = loop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange: Exchange = scope["stylobate"]
        path = exchange.path
        # looked up again: the catalogue may have been read for the first time while the request was charged
        found = exchange.found or self._catalogue.find(exchange.method, path, exchange.instance)
        if ESCAPE in exchange.instance and is_strange(path, exchange.instance):
            raise RouteNotFoundError
        if query := scope["query_string"]:
            check_query(query)
        if isinstance(found, Found):
            exchange.route = found.action.label
            answered = await self.call(found, exchange, query, await read_body(receive))
            kind, output = self.told(exchange, answered)
            await answer(send, 200, [(b"content-type", kind.encode())], output)
            return
        if path.startswith(PREFIX):
            catalogue, is_read = self._catalogue, exchange.method in {"GET", "HEAD"}
            if not is_read and (path[len(PREFIX) :] in catalogue.called or not catalogue.is_read):
                raise MethodNotAllowedError(metadata={"allow": allow(("GET", "POST"))})
        elif found:
            raise MethodNotAllowedError(metadata={"allow": allow(found)})
        if exchange.method != "HEAD":
            await self._inner(scope, receive, send)
            return
        as_get = {**scope, "method": "GET"}  # the server leaves the body out
        try:
            await self._inner(as_get, receive, send)
        finally:
            scope["route"] = as_get.get("route")

    def call(self, found: Found, exchange: Exchange, query: bytes, body: bytes) -> Awaitable[Answered]:
        """Begin the call of the action; return what to await at once. Raises StylobateError. How it ends is for :meth:`told`."""
        action, shape, values = found
        call = exchange.call
        is_keyed = False
        if shape is not BODY or query or not exchange.head.is_plain_json:  # else the body is the input
            is_keyed = has_key(exchange)
            try:
                if is_keyed:
                    key_of(exchange)
                if action.is_running:
                    _check_body(shape, exchange, body)
                    body = action_input(shape, values, query, body)
            except StylobateError:
                if call.principal.is_anonymous and not action.is_public:
                    raise UnauthenticatedError from None  # who may not ask at all is not told how
                raise
        if action.timeout_s is not None:
            call.deadline = max(call.deadline, self._loop.time() + action.timeout_s)
        charged = exchange.charged_limit
        if not is_keyed and len(body) <= _SHORT:
            executing = self._plainly(action.timeout_s, action.name, body, charged)
            if executing is not None:
                return executing
        request = ExecuteActionRequest(action=action.name, input=body, content_type=JSON, charged_limit=charged)
        if is_keyed:  # its service waits, as long as the action may run
            return answered(exchange, partial(self._execute, timeout=action.timeout_s), request, pauses_s=())
        called: Awaitable[Answered] = self._execute(request, timeout=action.timeout_s)
        return called

    @staticmethod
    def told(exchange: Exchange, answered: Answered) -> tuple[str, bytes]:
        """Return the content type of an answer and the output; note what it tells of the limits."""
        if isinstance(answered, tuple):
            return answered
        if answered.HasField("rate_limit"):  # charged there: not at the door, or on what it was before
            exchange.limits = [_limit_text(answered.rate_limit), *exchange.limits[bool(exchange.charged_limit) :]]
        return answered.content_type, answered.output


def allow(methods: Collection[str]) -> str:
    """Return the header ``Allow`` for what a resource declares: where there is GET there is HEAD, and OPTIONS everywhere."""
    return ", ".join(sorted({*methods, "OPTIONS", *(("HEAD",) if "GET" in methods else ())}))


def _check_body(shape: RouteInput, exchange: Exchange, body: bytes) -> None:
    """Refuse a body that is not taken, or of another type."""
    if not body:
        return
    if not shape.has_body:
        raise BodyNotAllowedError
    if exchange.media_type != JSON:
        raise UnsupportedMediaTypeError
    if exchange.is_coded:
        raise ContentCodingUnsupportedError


def _limit_text(limit: RateLimit) -> LimitText:
    reset = limit.reset.seconds + (limit.reset.nanos > 0)
    return standing(limit_text_of(limit.policy, limit.quota, limit.window.seconds), limit.remaining, reset)
