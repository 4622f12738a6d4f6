"""The outermost layer: request id, trace, the call that goes with the request, errors as problems, metrics, access log."""

import asyncio
from time import perf_counter
from typing import Any

from stylobate.errors import InternalError, StylobateError
from stylobate.logs import get_logger, log_access
from stylobate.rpc.call import Call, current_call
from stylobate.telemetry import child_of, counter, histogram, new_traceparent

from stylobate_gateway.asgi import Application, Message, Receive, Scope, Send, answer
from stylobate_gateway.exchange import Exchange
from stylobate_gateway.problems import problem_body, problem_headers

_app_log = get_logger("app")
_security_log = get_logger("security")
_SECURITY = (401, 403)
_FIRST_SERVER_ERROR = 500


class RequestContext:
    """Gives every request its :class:`Exchange` and every answer its ``X-Request-Id``; lets no exception pass."""

    def __init__(self, inner: Application, *, timeout_s: float, trace_ratio: float, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._timeout_s = timeout_s
        self._trace_ratio = trace_ratio
        self._loop = loop
        self._requests = counter("http_requests_total", "Requests by method and status.", ("method", "status"))
        self._seconds = histogram("http_request_seconds", "Time from the first byte of a request to the end of its answer.")
        self._children: dict[tuple[str, int], Any] = {}

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
        except StylobateError as error:
            await self._refuse(exchange, error, send_with_id)
        except Exception as error:
            _app_log.exception("request_failed", request_id=exchange.request_id, path=exchange.path)
            exchange.error = InternalError()
            if exchange.status:
                raise  # an answer has begun: the connection must break, or the client takes half of it for the whole
            await self._refuse(exchange, InternalError(), send_with_id)
            del error
        finally:
            self._finish(exchange)

    async def _refuse(self, exchange: Exchange, error: StylobateError, send: Send) -> None:
        exchange.error = error
        if exchange.status:
            raise error
        body = problem_body(error, instance=exchange.path, request_id=exchange.request_id)
        await answer(send, error.http_status, problem_headers(error), b"" if exchange.method == "HEAD" else body)

    def _finish(self, exchange: Exchange) -> None:
        seconds = perf_counter() - exchange.started
        key = (exchange.method, exchange.status)
        child = self._children.get(key)
        if child is None:
            method = exchange.method if exchange.method in _METHODS else "other"
            child = self._children[key] = self._requests.labels(method, str(exchange.status))
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
        if exchange.status in _SECURITY:
            _security_log.warning("request_refused", **facts)
        log_access("request", facts)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
