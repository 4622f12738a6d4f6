"""Calls from pages of other origins (the Fetch standard's CORS protocol): Starlette's layer, for the requests it concerns."""

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware

from stylobate_gateway.asgi import Application, Receive, Scope, Send
from stylobate_gateway.exchange import exchange_of

_ALLOWED = ["Authorization", "Content-Type", "If-Match", "If-None-Match", "X-Request-Id", "Traceparent"]
_EXPOSED = ["ETag", "Retry-After", "RateLimit", "RateLimit-Policy", "X-Request-Id"]


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
        if exchange.has_origin or exchange.method != "POST":
            await self._asked(scope, receive, send)
        else:
            await self._inner(scope, receive, send)
