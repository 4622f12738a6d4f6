"""The outermost layer: request id, trace, the call that goes with the request, metrics, access log."""

import asyncio
from time import perf_counter
from typing import Any

from stylobate.http.asgi import Application, Message, Receive, Scope, Send
from stylobate.http.limits import limit_headers
from stylobate.logs import get_logger, log_access
from stylobate.rpc.call import Call, current_call
from stylobate.rpc.outages import Outages
from stylobate.telemetry import Span, SpanKind, counter, decided, histogram, is_sampled, new_traceparent, span

from stylobate_gateway.exchange import Exchange

_security_log = get_logger("security")
_SECURITY = (401, 403)
_SERVER_ERROR = 500
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestContext:
    """Gives every request its :class:`Exchange` and every answer its ``X-Request-Id`` and limits."""

    def __init__(
        self,
        inner: Application,
        *,
        timeout_s: float,
        trace_ratio: float,
        loop: asyncio.AbstractEventLoop,
        trusts_traces: bool = False,
    ) -> None:
        """Stand in front of everything else.

        :param trace_ratio: the share of requests that is sampled.
        :param trusts_traces: whether a request's ``traceparent`` decides instead.
        """
        self._inner = inner
        self._trusts_traces = trusts_traces
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
        if not parent:
            parent = new_traceparent(self._trace_ratio)
        elif not self._trusts_traces:
            parent = decided(parent, self._trace_ratio)
        opened = self._span(exchange, parent) if is_sampled(parent) else None
        exchange.traceparent = parent if opened is None else opened.traceparent
        call = Call(
            request_id=exchange.request_id, traceparent=exchange.traceparent, deadline=self._loop.time() + self._timeout_s
        )
        current_call.set(call)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                headers = list(message["headers"])
                headers.append((b"x-request-id", exchange.request_id.encode()))
                headers += limit_headers(exchange.limits)
                message["headers"] = headers
            await send(message)

        try:
            await self._inner(scope, receive, send_with_id)
        finally:
            self._finish(exchange, call)
            if opened is not None:
                _end(opened, exchange, scope)

    def _span(self, exchange: Exchange, parent: str) -> Span:
        attributes: dict[str, Any] = {
            "http__request__method": exchange.method,
            "url__path": exchange.path,
            "url__scheme": "http",
            "stylobate__request_id": exchange.request_id,
        }
        return span("gateway", exchange.method, parent, kind=SpanKind.SERVER, **attributes)

    def _finish(self, exchange: Exchange, call: Call) -> None:
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
            "client": call.client_address,
            "trace_id": exchange.traceparent[3:35],  # W3C Trace Context §3.2.2
        }
        if error is not None:
            facts["code"] = error.reason
            self._outages.note("http", error, exchange.request_id)
        if exchange.status in _SECURITY:
            _security_log.warning("request_refused", **facts)
        log_access("request", facts)


def _end(opened: Span, exchange: Exchange, scope: Scope) -> None:
    """End a request's span, by OpenTelemetry's conventions for HTTP servers: what the client did wrong is not an error here."""
    route = exchange.route or getattr(scope.get("route"), "path", "")
    if route:
        opened.rename(f"{exchange.method} {route}")
        opened.set("http.route", route)
    if exchange.status:
        opened.set("http.response.status_code", exchange.status)
    if exchange.status >= _SERVER_ERROR or not exchange.status:
        opened.fail(str(exchange.status) if exchange.status else "cut off")
    opened.end()
