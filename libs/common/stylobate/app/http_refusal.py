"""What the HTTP listener answers by itself: problems (RFC 9457) for what never becomes a request of the application."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from stylobate.ids import new_id

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason to refuse. The answer closes the connection."""

    status: HTTPStatus
    code: str
    detail: str
    headers: tuple[Header, ...] = ()

    def rendered(self) -> tuple[str, list[Header], bytes]:
        """Return a fresh request id, the headers and the body."""
        request_id = new_id()
        body = orjson.dumps(
            {
                "type": f"/problems/{self.code.lower().replace('_', '-')}",
                "title": self.code.replace("_", " ").capitalize(),
                "status": self.status.value,
                "detail": self.detail,
                "code": self.code,
                "request_id": request_id,
            }
        )
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
            *self.headers,
        ]
        return request_id, headers, body

    def as_bytes(self, default_headers: Iterable[Header]) -> tuple[str, bytes]:
        """Return the request id and the whole answer as it goes over the wire."""
        request_id, headers, body = self.rendered()
        lines = [b"HTTP/1.1 %d %s" % (self.status.value, self.status.phrase.encode())]
        lines += [name + b": " + value for name, value in (*default_headers, *headers)]
        return request_id, b"\r\n".join([*lines, b"", body])

    def application(self) -> Callable[..., Awaitable[None]]:
        """Return an ASGI application that answers with it."""

        async def refuse(_scope: Any, _receive: Any, send: Any) -> None:
            _, headers, body = self.rendered()
            await send({"type": "http.response.start", "status": self.status.value, "headers": headers})
            await send({"type": "http.response.body", "body": body})

        return refuse


def _bad(detail: str, code: str = "MALFORMED_REQUEST") -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, code, detail)


_SOON = ((b"retry-after", b"1"),)

MALFORMED = _bad("This is not a request in HTTP/1.1 (RFC 9112).")
HOST = _bad("A request has one Host, and it is a host with or without a port (RFC 9112 section 3.2).")
PATH = _bad("The path is not percent-encoded UTF-8.", "MALFORMED_PATH")
QUERY = _bad("The query is not percent-encoded UTF-8.", "MALFORMED_QUERY")
TRANSFER_ENCODING = _bad("Transfer-Encoding is for HTTP/1.1, stands once and ends with chunked (RFC 9112 section 6.1).")
CODING = Refusal(HTTPStatus.NOT_IMPLEMENTED, "TRANSFER_CODING_UNSUPPORTED", "The only transfer coding taken here is chunked.")
UPGRADE_WITH_BODY = _bad("A request for a WebSocket has no body.")
CHUNKS = _bad("The chunks of the body carry far more than its data.")
CONNECT = Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "This is no proxy.", ((b"allow", b"GET, HEAD, POST"),))
HEAD_TOO_LARGE = Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "HEADERS_TOO_LARGE", "The head is too large.")
TARGET_TOO_LONG = Refusal(HTTPStatus.REQUEST_URI_TOO_LONG, "URI_TOO_LONG", "The path and query are too long.")
TOO_MANY_FIELDS = Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "HEADERS_TOO_LARGE", "The head has too many fields.")
TRAILERS = Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "HEADERS_TOO_LARGE", "The fields behind the body are too large.")
PIPELINE = Refusal(HTTPStatus.TOO_MANY_REQUESTS, "PIPELINE_TOO_LONG", "Too many requests wait for answers on this connection.")
HEAD_LATE = Refusal(HTTPStatus.REQUEST_TIMEOUT, "REQUEST_TIMEOUT", "The head of the request did not come in time.")
BODY_LATE = Refusal(HTTPStatus.REQUEST_TIMEOUT, "REQUEST_TIMEOUT", "The body of the request did not come in time.")
FULL = Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "TOO_MANY_CONNECTIONS", "Too many connections are open.", _SOON)
FULL_ADDRESS = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE, "TOO_MANY_CONNECTIONS", "Too many connections of this address are open.", _SOON
)
UNREADABLE = Refusal(
    HTTPStatus.TOO_MANY_REQUESTS,
    "TOO_MANY_UNREADABLE_REQUESTS",
    "Too many requests of this address could not be read.",
    ((b"retry-after", b"10"),),
)
OVERLOADED = Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "OVERLOADED", "Too many requests are being received.", _SOON)
