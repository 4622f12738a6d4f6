"""The HTTP protocol of the listeners: uvicorn's, with each answer leaving in one write, and bounded heads of requests.

uvicorn writes the head and the body of an answer apart, and uvloop passes every write to the system at once. What is written
in one turn of the loop is joined here: one system call, one packet and one wake-up of the peer fewer per request.

What cannot be parsed never becomes a request. It is answered here, as a problem like every other (RFC 9457).
"""

import asyncio
from http import HTTPStatus
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from stylobate.ids import new_id
from stylobate.logs import get_logger

_MOST_HELD = 64 * 1024
_MOST_HEAD = 64 * 1024
_log = get_logger("security")


class JoinedWrites:
    """A transport that holds back what is written until the loop's turn ends; everything else goes straight through.

    More than 64 KiB are not held: a long answer is written as it comes, so that the transport can say when it is full.
    """

    __slots__ = ("_held", "_loop", "_size", "transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        """Return the transport's own attribute."""
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        """Hold the data until the turn ends."""
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)
        self._size += len(data)
        if self._size > _MOST_HELD:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            self.transport.write(b"".join(self._held))
            self._held.clear()
            self._size = 0

    def close(self) -> None:
        """Close after what is held."""
        self.flush()
        self.transport.close()


class HttpProtocol(HttpToolsProtocol):
    """One connection. A head that has grown over 64 KiB and is not complete is refused: it could grow without end."""

    _head = 0
    """Bytes of the head that is being read, as far as they came in reads of their own."""
    _is_head = True
    _is_complete = False
    """Whether a request ended in the read under way: what else is in it is not counted."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        """Put the joining transport in front of the server's."""
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]  # has all that is asked of it

    def handle_websocket_upgrade(self) -> None:
        """Give the bare transport to who takes the connection over."""
        transport: Any = self.transport
        transport.flush()
        self.transport = transport.transport
        super().handle_websocket_upgrade()

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self._is_complete = False
        super().data_received(data)
        if self._is_head and not self._is_complete:
            self._head += len(data)
            if self._head > _MOST_HEAD and not self.transport.is_closing():
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "HEADERS_TOO_LARGE", "The head is too large.")

    def on_headers_complete(self) -> None:
        """Let the request begin."""
        self._is_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Expect the next head."""
        self._is_head = self._is_complete = True
        self._head = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP/1.1."""
        del msg  # uvicorn's sentence
        self._refuse(HTTPStatus.BAD_REQUEST, "MALFORMED_REQUEST", "This is not a request in HTTP/1.1 (RFC 9112).")

    def _refuse(self, status: HTTPStatus, code: str, detail: str) -> None:
        """Answer, and let nothing follow: where the next request would begin is unknown."""
        request_id = new_id()
        problem = {
            "type": f"/problems/{code.lower().replace('_', '-')}",
            "title": code.replace("_", " ").capitalize(),
            "status": status.value,
            "detail": detail,
            "code": code,
            "request_id": request_id,
        }
        body = orjson.dumps(problem)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nx-request-id: {request_id}\r\nconnection: close\r\n\r\n"
        )
        _log.warning("request_unreadable", request_id=request_id, code=code, client=self.client[0] if self.client else "")
        self.transport.write(head.encode() + body)
        self.transport.close()
