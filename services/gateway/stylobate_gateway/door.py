"""The door, through which every request comes and every answer goes: request id, trace, metrics, access log, problems."""

import asyncio
from time import perf_counter, time
from typing import Any

from starlette.requests import ClientDisconnect
from stylobate.errors import CancelledCallError, InternalError, StylobateError
from stylobate.http.asgi import Application, Header, Headers, Message, Receive, Scope, Send
from stylobate.http.errors import MethodNotAllowedError
from stylobate.logs import get_logger, log_request
from stylobate.logs.access import RequestLine
from stylobate.rpc.call import current_call
from stylobate.rpc.outages import Outages
from stylobate.telemetry import Span, SpanKind, counts, decided, is_sampled, is_traceparent, new_traceparent, span, spreads
from stylobate.telemetry.tallies import Count, Spread

from stylobate_gateway.compression import Compression
from stylobate_gateway.cors import Cors, vary
from stylobate_gateway.exchange import Exchange
from stylobate_gateway.granting import GrantingCommands
from stylobate_gateway.head import Head

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
        tells_time: bool = False,
        granting: GrantingCommands | None = None,
        cors: Cors | None = None,
        compression: Compression | None = None,
    ) -> None:
        """Stand in front of everything else.

        :param trace_ratio: the share of requests that is sampled.
        :param trusts_traces: whether a request's ``traceparent`` decides instead.
        :param tells_time: whether answers say how long they took (W3C Server Timing).
        :param granting: tells who lacks a permission how to give it; None: nobody is told.
        :param cors: what pages of other origins may do; None: none may do anything.
        :param compression: compresses answers; None: they go out as they are.
        """
        self._inner = inner
        self._trusts_traces = trusts_traces
        self._timeout_s = timeout_s
        self._trace_ratio = trace_ratio
        self._loop = loop
        self._cors = cors
        self.vary_line = b"" if cors is None else b"vary: Origin\r\n"
        """What :func:`~stylobate_gateway.cors.vary` adds to the head of an answer to a read that has no such field."""
        self.compression = compression
        self._tells_time = tells_time
        self._granting = granting
        labels = ("method", "route")
        self._requests = counts("http_requests", "Requests by method, route and status.", (*labels, "status"))
        self._seconds = spreads("http_request_seconds", "Time from the first byte of a request to the end of its answer.", labels)
        self._counted: dict[tuple[str, str, int], tuple[Count, Spread]] = {}
        self._outages = Outages("request_unavailable")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = scope["stylobate"] = Exchange(Head(scope["method"], scope["path"], scope["raw_path"], scope["headers"]))
        opened = self.open(exchange)
        inner, cors = self._inner, self._cors
        if cors is not None and exchange.method == "OPTIONS" and cors.is_preflight(exchange):
            inner, sending = cors.preflight, answering(exchange, send, self.compression)
        else:
            sending = self.answering(exchange, send)
        try:
            await inner(scope, receive, sending)
        except Exception as error:  # noqa: BLE001  it is answered
            await self.refuse(exchange, sending, error)
        finally:
            if not exchange.route:
                exchange.route = getattr(scope.get("route"), "path_format", "")
            self.close(exchange, opened)

    def answering(self, exchange: Exchange, send: Send) -> Send:
        """Return what sends an answer with all fields that are not of its content alone, compressed where that is wanted."""
        if self._cors is not None and self._varies(exchange):
            send = self._cors.sending(exchange, send)
        return answering(exchange, send, self.compression)

    async def packed(self, exchange: Exchange, fields: Headers, body: bytes | None) -> tuple[Headers, bytes | None]:
        """Return an answer's fields and its body as they leave, to a request that came from no page of another origin.

        What leaves so is the same as by :meth:`answering`.

        :param fields: of its content, but for the length. :param body: text; None: it has none.
        """
        if self.compression is not None and body is not None and self.packs(body):
            fields, body = await self.compression.pack(exchange.headers.get(b"accept-encoding", b""), fields, body)
        fields = [*fields, *exchange.fields()]
        if self._cors is not None and self._varies(exchange):
            vary(fields)
        return fields, body

    def packs(self, body: bytes) -> bool:
        """Return whether a body, which is text, may leave compressed."""
        return self.compression is not None and len(body) >= self.compression.least

    @staticmethod
    def _varies(exchange: Exchange) -> bool:
        """Return whether the answer may depend on the origin that asks, or a cache may keep it."""
        return exchange.method != "POST" or b"origin" in exchange.headers

    def open(self, exchange: Exchange) -> Span | None:
        """Let a request begin: from here on it is the current call, and its deadline runs. Return its span, if it has one."""
        exchange.call.deadline = self._loop.time() + self._timeout_s
        exchange.tells_time = self._tells_time
        opened = self._trace(exchange)
        current_call.set(exchange.call)
        return opened

    def _trace(self, exchange: Exchange) -> Span | None:
        """Give the call its trace: the client's, or a new one. Return the span where it is sampled."""
        given = exchange.headers.get(b"traceparent")
        parent = "" if given is None else given.decode("latin-1")
        if given is None or not is_traceparent(parent):
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

    def turned_away(self, scope: Scope) -> tuple[bool, Headers]:
        """Count a request that was refused in our place; see :class:`stylobate.app.request_turns.TurnedAway`."""
        method, cors = scope["method"], self._cors
        is_enough, told = False, list[Header]()
        if cors is not None and (method != "POST" or any(name == b"origin" for name, _ in scope["headers"])):
            is_enough, told = cors.turned_away(scope)
        key = method, "", 204 if is_enough else 503
        (self._counted.get(key) or self._counts(key))[0].count += 1
        return is_enough, told

    async def refuse(self, exchange: Exchange, send: Send, error: Exception) -> None:
        """Answer with an error; it is raised again where an answer has begun."""
        refused = exchange.error = _refusal_of(error, exchange)
        if exchange.status:
            raise error
        _let_go(error)
        if exchange.method == "OPTIONS" and isinstance(refused, MethodNotAllowedError):
            exchange.error = None
            await _tell_methods(send, refused)
            return
        if self._granting is not None:
            self._granting.tell(refused, exchange.call.principal)
        await exchange.refuse(send, refused)

    def close(self, exchange: Exchange, opened: Span | None) -> None:
        """Count a request that is answered, and write down how it went."""
        seconds = perf_counter() - exchange.started
        method, status, call, error = exchange.method, exchange.status, exchange.call, exchange.error
        key = (method, exchange.route, status)
        count, spread = self._counted.get(key) or self._counts(key)
        count.count += 1
        spread.observe(seconds)
        if opened is not None:
            spread.exemplify(seconds, opened.traceparent)
            _end(opened, exchange)
        code = ""
        if error is not None:
            code = error.reason
            self._outages.note("http", error, exchange.request_id)
        trace, subject = call.traceparent[3:35], call.principal.id  # W3C Trace Context §3.2.2
        line = RequestLine(
            time(), exchange.request_id, method, exchange.path, status, seconds, subject, call.client_address, trace, code
        )
        if status in _SECURITY:
            _security_log.warning("request_refused", **line.facts())
        log_request(line)

    def _counts(self, key: tuple[str, str, int]) -> tuple[Count, Spread]:
        """Return what counts requests of this method, route and status. What clients may call as they like is one label."""
        method, route, status = key
        known = (method if method in _METHODS else "other", route or "none")
        found = self._requests.of(*known, str(status)), self._seconds.of(*known)
        if method in _METHODS:
            self._counted[key] = found
        return found


def answering(exchange: Exchange, send: Send, compression: Compression | None = None) -> Send:
    """Return what sends an answer with the header fields that every one has, compressed where that is wanted."""
    held: Message | None = None

    async def sending(message: Message) -> None:
        nonlocal held
        if message["type"] == "http.response.start":
            is_concerned = compression is not None and compression.concerns(message["headers"])
            held = message if is_concerned else None
            if not is_concerned:
                await begin(message)
        elif held is None:
            await send(message)
        else:
            start, held = held, None
            if compression is not None and not message.get("more_body"):  # what comes in pieces goes out as it is
                accepted = exchange.headers.get(b"accept-encoding", b"")
                start["headers"], message["body"] = await compression.pack(accepted, start["headers"], message["body"])
            await begin(start)
            await send(message)

    async def begin(message: Message) -> None:
        exchange.status = message["status"]
        message["headers"] = [*message["headers"], *exchange.fields()]
        await send(message)

    return sending


async def _tell_methods(send: Send, refused: MethodNotAllowedError) -> None:
    """Answer what may be asked of a resource (RFC 9110 §9.3.7): what another method is told with its refusal."""
    await send({"type": "http.response.start", "status": 204, "headers": [(b"allow", refused.metadata["allow"].encode())]})
    await send({"type": "http.response.body"})


def _end(opened: Span, exchange: Exchange) -> None:
    """End a request's span, by OpenTelemetry's conventions for HTTP servers: what the client did wrong is not an error here."""
    if exchange.route:
        opened.rename(f"{exchange.method} {exchange.route}")
        opened.set("http.route", exchange.route)
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
