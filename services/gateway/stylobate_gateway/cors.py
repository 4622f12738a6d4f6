"""Calls from pages of other origins (the Fetch standard's CORS protocol), by Starlette's rules."""

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from stylobate.http.asgi import Headers as FieldList
from stylobate.http.asgi import Message, Receive, Scope, Send, answer
from stylobate.http.problem import problem_application

from stylobate_gateway.errors import CorsRefusedError
from stylobate_gateway.exchange import Exchange

_ALLOWED = [
    "Authorization", "Baggage", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-Id", "Traceparent",
    "Tracestate", "X-CSRF-Token", "X-Request-Id", "X-Session-Mode",
]  # fmt: skip
Charge = Callable[[Exchange, Scope], Awaitable[None]]
_EXPOSED = [
    "Allow", "Content-Location", "ETag", "Idempotency-Replayed", "Link", "Memento-Datetime", "Retry-After", "RateLimit",
    "RateLimit-Policy", "Server-Timing", "WWW-Authenticate", "X-CSRF-Token", "X-Request-Id",
]  # fmt: skip


class Cors:
    """Lets the origins named call from browsers.

    A request without ``Origin`` comes from no page, but where its answer may be kept by a cache it says that it varies.

    :param takes_cookies: whether pages of these origins may send the cookies of a session.
    :param charge: charges who sends a preflight, which is answered before anything else is looked at. Raises RateLimitedError.
    """

    def __init__(self, origins: Sequence[str], pattern: str | None, charge: Charge, *, takes_cookies: bool = False) -> None:
        self._rules = CORSMiddleware(
            problem_application(CorsRefusedError()),  # never asked: only its rules are used
            allow_origins=origins,
            allow_origin_regex=pattern,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=_ALLOWED,
            expose_headers=_EXPOSED,
            allow_credentials=takes_cookies and "*" not in origins,  # whoever may read all, may not read as somebody
        )
        self._charge = charge

    @staticmethod
    def is_preflight(exchange: Exchange) -> bool:
        """Return whether this OPTIONS is a browser's, which asks what a page may send."""
        return exchange.headers.keys() >= {b"origin", b"access-control-request-method"}

    def sending(self, exchange: Exchange, send: Send) -> Send:
        """Return what sends an answer with the header fields that tell a browser who may read it."""
        asked = Headers(raw=[*exchange.head.sent])

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._tell(message, asked)
            await send(message)

        return sending

    def turned_away(self, scope: Scope) -> tuple[bool, FieldList]:
        """Return the fields of an answer that the application has no part in, and whether they are all that was asked for.

        A page is not told why its preflight was refused, so it gets its answer even when there is time for nothing else.
        """
        asked = Headers(scope=scope)
        if scope["method"] == "OPTIONS" and "origin" in asked and "access-control-request-method" in asked:
            found = self._rules.preflight_response(asked)
            if found.status_code == HTTPStatus.OK:
                return True, _without_body(found.raw_headers)
        message: Message = {"headers": []}
        self._tell(message, asked)
        return False, message["headers"]

    def _tell(self, message: Message, asked: Headers) -> None:
        """Put the fields into the beginning of an answer that tell a browser who may read it, as Starlette's layer does."""
        rules, origin = self._rules, asked.get("origin")
        if origin is not None:
            fields = MutableHeaders(scope=message)
            fields.update(rules.simple_headers)
            if not rules.allow_all_origins and rules.is_allowed_origin(origin):
                rules.allow_explicit_origin(fields, origin)
                return
        vary(message["headers"])

    async def preflight(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer a preflight; what a page may not send is a problem like any other."""
        exchange: Exchange = scope["stylobate"]
        await self._charge(exchange, scope)
        headers = Headers(scope=scope)
        found = self._rules.preflight_response(headers)
        if found.status_code == HTTPStatus.OK:
            await answer(send, HTTPStatus.OK, [h for h in found.raw_headers if h[0] != b"content-length"], bytes(found.body))
            return
        refused = CorsRefusedError(f"{bytes(found.body).decode()} for pages of {headers['origin'][:200]!r}.")
        await exchange.refuse(send, refused, _without_body(found.raw_headers))


def vary(fields: FieldList) -> None:
    """Say in the fields of an answer that it may be another one for another origin: what every request without one is told."""
    for at, (name, value) in enumerate(fields):
        if name == b"vary":
            fields[at] = name, value + b", Origin"
            return
    fields.append((b"vary", b"Origin"))


def _without_body(fields: FieldList) -> FieldList:
    return [field for field in fields if field[0] not in {b"content-length", b"content-type"}]
