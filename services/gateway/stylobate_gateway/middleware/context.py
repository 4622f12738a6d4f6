"""The outermost layer: request id, trace, the call that goes with the request, metrics, access log."""

import asyncio
from time import perf_counter
from typing import Any

from stylobate.logs import get_logger, log_access
from stylobate.rpc.call import Call, current_call
from stylobate.rpc.outages import Outages
from stylobate.telemetry import child_of, counter, histogram, new_traceparent

from stylobate_gateway.asgi import Application, Message, Receive, Scope, Send
from stylobate_gateway.exchange import Exchange

_security_log = get_logger("security")
_SECURITY = (401, 403)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestContext:
    """Gives every request its :class:`Exchange` and every answer its ``X-Request-Id`` and limits."""

    def __init__(self, inner: Application, *, timeout_s: float, trace_ratio: float, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._timeout_s = timeout_s
        self._trace_ratio = trace_ratio
        self._loop = loop
        self._requests = counter("http_requests_total", "Requests by method and status.", ("method", "status"))
        self._seconds = histogram("http_request_seconds", "Time from the first byte of a request to the end of its answer.")
        self._children: dict[tuple[str, int], Any] = {}
        self._outages = Outages("request_unavailable")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = scope["stylobate"] = Exchange(scope)
        parent = exchange.traceparent
        exchange.traceparent = child_of(parent) if parent else new_traceparent(self._trace_ratio)
        current_call.set(
            Call(request_id=exchange.request_id, traceparent=exchange.traceparent, deadline=self._loop.time() + self._timeout_s)
        )

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                headers = list(message["headers"])
                headers.append((b"x-request-id", exchange.request_id.encode()))
                headers += exchange.rate_limit
                message["headers"] = headers
            await send(message)

        try:
            await self._inner(scope, receive, send_with_id)
        finally:
            self._finish(exchange)

    def _finish(self, exchange: Exchange) -> None:
        seconds = perf_counter() - exchange.started
        key = (exchange.method if exchange.method in _METHODS else "other", exchange.status)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._requests.labels(*key)
        child.inc()
        self._seconds.observe(seconds)
        error = exchange.error
        facts = {
            "request_id": exchange.request_id,
            "method": exchange.method,
            "path": exchange.path,
            "status": exchange.status,
            "ms": round(seconds * 1000, 2),
            "subject": exchange.principal.id,
        }
        if error is not None:
            facts["code"] = error.reason
            self._outages.note("http", error, exchange.request_id)
        if exchange.status in _SECURITY:
            _security_log.warning("request_refused", **facts)
        log_access("request", facts)
