"""Calls from pages of other origins (the Fetch standard's CORS protocol), by Starlette's rules."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from stylobate.http.asgi import Receive, Scope, Send, answer
from stylobate.http.problem import problem_application

from stylobate_gateway.errors import CorsRefusedError
from stylobate_gateway.exchange import Exchange

_ALLOWED = [
    "Authorization", "Baggage", "Content-Type", "If-Match", "If-None-Match", "Traceparent", "Tracestate", "X-Request-Id",
]  # fmt: skip
Charge = Callable[[Exchange, Scope], Awaitable[None]]
_EXPOSED = ["Allow", "ETag", "Retry-After", "RateLimit", "RateLimit-Policy", "WWW-Authenticate", "X-Request-Id"]


class Cors:
    """Lets the origins named call from browsers.

    A request without ``Origin`` comes from no page, but where its answer may be kept by a cache it says that it varies.

    :param charge: charges who sends a preflight, which is answered before anything else is looked at. Raises RateLimitedError.
    """

    def __init__(self, origins: Sequence[str], pattern: str | None, charge: Charge) -> None:
        self._rules = CORSMiddleware(
            problem_application(CorsRefusedError()),  # never asked: only its rules are used
            allow_origins=origins,
            allow_origin_regex=pattern,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=_ALLOWED,
            expose_headers=_EXPOSED,
        )
        self._charge = charge

    @staticmethod
    def is_preflight(exchange: Exchange) -> bool:
        """Return whether this OPTIONS is a browser's, which asks what a page may send."""
        return exchange.headers.keys() >= {b"origin", b"access-control-request-method"}

    def sending(self, scope: Scope, send: Send) -> Send:
        """Return what sends an answer with the header fields that tell a browser who may read it."""
        return partial(self._rules.send, send=send, request_headers=Headers(scope=scope))

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
        kept = [(name, value) for name, value in found.raw_headers if name not in {b"content-length", b"content-type"}]
        await exchange.refuse(send, refused, kept)
