"""Calls from pages of other origins (the Fetch standard's CORS protocol): Starlette's layer, for the requests it concerns."""

from collections.abc import Sequence
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from stylobate.http.asgi import Application, Receive, Scope, Send, answer

from stylobate_gateway.errors import CorsRefusedError
from stylobate_gateway.exchange import exchange_of

_ALLOWED = [
    "Authorization", "Baggage", "Content-Type", "If-Match", "If-None-Match", "Traceparent", "Tracestate", "X-Request-Id",
]  # fmt: skip
_EXPOSED = ["Allow", "ETag", "Retry-After", "RateLimit", "RateLimit-Policy", "WWW-Authenticate", "X-Request-Id"]


class Cors:
    """Lets the origins named call from browsers.

    A request without ``Origin`` comes from no page. It passes by the layer, unless its answer may be kept by a cache, which
    must then know that the answer varies.
    """

    def __init__(self, inner: Application, origins: Sequence[str], pattern: str | None) -> None:
        self._inner = inner
        self._asked = CORSMiddleware(
            inner,
            allow_origins=origins,
            allow_origin_regex=pattern,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=_ALLOWED,
            expose_headers=_EXPOSED,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = exchange_of(scope)
        if exchange.method == "OPTIONS" and exchange.has_origin:
            headers = Headers(scope=scope)
            if "access-control-request-method" in headers:
                await self._preflight(scope, headers, send)
                return
        if exchange.has_origin or exchange.method != "POST":
            await self._asked(scope, receive, send)
        else:
            await self._inner(scope, receive, send)

    async def _preflight(self, scope: Scope, headers: Headers, send: Send) -> None:
        """Answer a browser that asks what a page may send; what it may not is a problem like any other."""
        found = self._asked.preflight_response(headers)
        if found.status_code == HTTPStatus.OK:
            await answer(send, HTTPStatus.OK, [h for h in found.raw_headers if h[0] != b"content-length"], bytes(found.body))
            return
        exchange = exchange_of(scope)
        refused = CorsRefusedError(f"{bytes(found.body).decode()} for pages of {headers['origin'][:200]!r}.")
        kept = [(name, value) for name, value in found.raw_headers if name not in {b"content-length", b"content-type"}]
        await exchange.refuse(send, refused, kept)
