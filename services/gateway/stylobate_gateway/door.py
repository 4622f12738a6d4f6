"""The door, through which every request comes and every answer goes: request id, trace, metrics, access log, problems."""

import asyncio
from time import perf_counter
from typing import Any

from starlette.requests import ClientDisconnect
from stylobate.errors import CancelledCallError, InternalError, StylobateError
from stylobate.http.asgi import Application, Message, Receive, Scope, Send, limit_headers
from stylobate.logs import get_logger, log_access
from stylobate.rpc.call import current_call
from stylobate.rpc.outages import Outages
from stylobate.telemetry import Span, SpanKind, counter, decided, histogram, is_sampled, is_traceparent, new_traceparent, span

from stylobate_gateway.cors import Cors
from stylobate_gateway.exchange import Exchange

_log = get_logger("app")
_security_log = get_logger("security")
_SECURITY = (401, 403)
_SERVER_ERROR = 500
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Door:
    """Gives every request its :class:`Exchange` and its call, every answer its ``X-Request-Id`` and limits.

    It lets no exception pass, except when an answer has begun: then the connection must break, or half of it looks whole.
    """

    def __init__(
        self,
        inner: Application,
        *,
        timeout_s: float,
        trace_ratio: float,
        loop: asyncio.AbstractEventLoop,
        trusts_traces: bool = False,
        cors: Cors | None = None,
    ) -> None:
        """Stand in front of everything else.

        :param trace_ratio: the share of requests that is sampled.
        :param trusts_traces: whether a request's ``traceparent`` decides instead.
        :param cors: what pages of other origins may do; None: none may do anything.
        """
        self._inner = inner
        self._trusts_traces = trusts_traces
        self._timeout_s = timeout_s
        self._trace_ratio = trace_ratio
        self._loop = loop
        self._cors = cors
        self._requests = counter("http_requests_total", "Requests by method and status.", ("method", "status"))
        self._seconds = histogram("http_request_seconds", "Time from the first byte of a request to the end of its answer.")
        self._children: dict[tuple[str, int], Any] = {}
        self._outages = Outages("request_unavailable")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = scope["stylobate"] = Exchange(scope)
        exchange.call.deadline = self._loop.time() + self._timeout_s
        opened = self._trace(exchange)
        current_call.set(exchange.call)
        inner, cors = self._inner, self._cors
        if cors is not None and (exchange.method != "POST" or b"origin" in exchange.headers):
            if exchange.method == "OPTIONS" and cors.is_preflight(exchange):
                inner = cors.preflight
            else:
                send = cors.sending(scope, send)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                headers = list(message["headers"])
                headers.append((b"x-request-id", exchange.request_id.encode()))
                headers += limit_headers(exchange.limits)
                message["headers"] = headers
            await send(message)

        try:
            await inner(scope, receive, send_with_id)
        except Exception as error:
            refused = exchange.error = _refusal_of(error, exchange)
            if exchange.status:
                raise
            _let_go(error)
            await exchange.refuse(send_with_id, refused)
        finally:
            self._finish(exchange)
            if opened is not None:
                _end(opened, exchange, scope)

    def _trace(self, exchange: Exchange) -> Span | None:
        """Give the call its trace: the client's, or a new one. Return the span where it is sampled."""
        parent = exchange.headers.get(b"traceparent", b"").decode("latin-1")
        if not parent or not is_traceparent(parent):
            parent = new_traceparent(self._trace_ratio)
        elif not self._trusts_traces:
            parent = decided(parent, self._trace_ratio)
        exchange.call.traceparent = parent
        if not is_sampled(parent):
            return None
        attributes: dict[str, Any] = {
            "http__request__method": exchange.method,
            "url__path": exchange.path,
            "url__scheme": "http",
            "stylobate__request_id": exchange.request_id,
        }
        opened = span("gateway", exchange.method, parent, kind=SpanKind.SERVER, **attributes)
        exchange.call.traceparent = opened.traceparent
        return opened

    def _finish(self, exchange: Exchange) -> None:
        seconds = perf_counter() - exchange.started
        key = (exchange.method if exchange.method in _METHODS else "other", exchange.status)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._requests.labels(*key)
        child.inc()
        self._seconds.observe(seconds)
        call, error = exchange.call, exchange.error
        facts = {
            "request_id": exchange.request_id,
            "method": exchange.method,
            "path": exchange.path,
            "status": exchange.status,
            "ms": round(seconds * 1000, 2),
            "subject": call.principal.id,
            "client": call.client_address,
            "trace_id": call.traceparent[3:35],  # W3C Trace Context §3.2.2
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


def _refusal_of(error: Exception, exchange: Exchange) -> StylobateError:
    """Return what is answered to an error. One that nobody foresaw is logged, and its text stays here."""
    if isinstance(error, StylobateError):
        return error
    if isinstance(error, ClientDisconnect):
        return CancelledCallError("The client went away before its request was complete.")
    _log.error("request_failed", request_id=exchange.request_id, path=exchange.path, exc_info=error)
    return InternalError()


def _let_go(error: BaseException) -> None:
    """Drop the frames of the error and of what led to it.

    They hold the exchange, which holds the error: all that they have read of a body would wait for the collector.
    """
    found: BaseException | None = error
    while found is not None and found.__traceback__ is not None:
        found.__traceback__ = None
        found = found.__context__
