"""Requests that are answered without ASGI: those of which there are many, and in which nothing is out of the ordinary.

What the protocol does for a connection (deadlines, bounds, turns, pipelining) it does for these requests too: only uvicorn's
cycle, which speaks ASGI with an application, has another one in its place.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from stylobate.errors import CancelledCallError
from stylobate.http.asgi import Header, Headers, Receive, Scope, Send


class Express(Protocol):
    """Answers some requests. An instance serves all connections of a listener."""

    prefixes: Mapping[bytes, bytes]
    """By method, that of the targets of all of them."""

    def take(self, method: bytes, target: bytes, headers: Sequence[Header]) -> Any:
        """Return what :meth:`serve` is given of a request of HTTP/1.1 without chunks; None: it is for the application.

        :param target: the path and query as they were sent.
        :param headers: names in lower case; the host and the framing have been looked at.
        """

    def again(self, taken: Any) -> Any:
        """Return what :meth:`serve` is given of another request with the same head, a moment or a day later."""

    async def serve(self, taken: Any, cycle: "ExpressCycle", scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one: by :meth:`ExpressCycle.answer`, or by ``send`` as an ASGI application does.

        :param scope: holds what to call when the request is admitted, see :mod:`stylobate.app.request_turns`, and nothing else.
        """


class Arrival:
    """What :class:`asyncio.Event` is, for one that waits: it costs next to nothing where nobody does, as for most bodies."""

    __slots__ = ("_is_set", "_waiter")

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Let go on who waits."""
        self._is_set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        """Let wait again."""
        self._is_set = False

    async def wait(self) -> None:
        """Wait until it is set."""
        if not self._is_set:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter


class _Lines:
    """The fields of every answer as they are sent: they change once a second."""

    fields: Headers | None = None
    sent = b""

    @classmethod
    def of(cls, fields: Headers) -> bytes:
        """Return their lines, each with its end."""
        if fields is not cls.fields:
            cls.fields, cls.sent = fields, b"".join([b"%b: %b\r\n" % field for field in fields])
        return cls.sent


class ExpressCycle(RequestResponseCycle):
    """One request that is answered without ASGI."""

    disconnected = False
    waiting_for_100_continue = False
    access_log = False
    more_body = True
    response_started = False
    response_complete = False
    chunked_encoding = None
    expected_content_length = 0
    body: Any = b""

    def __init__(self, protocol: Any, method: bytes, *, keep_alive: bool) -> None:
        """Begin.

        :param protocol: of the connection, which has read the head.
        """
        path = protocol.url.partition(b"?")[0]
        self.scope: Any = {"method": method.decode("ascii"), "raw_path": path, "headers": protocol.headers}
        self.transport = protocol.transport
        self.flow = protocol.flow
        self.logger = protocol.logger
        self.default_headers = protocol.server_state.default_headers
        self.message_event: Any = Arrival()
        self.keep_alive = keep_alive
        self.on_response = protocol.on_response_complete
        self.client: tuple[str, int] | None = protocol.client

    @property
    def is_whole(self) -> bool:
        """Whether the body is there, and can be taken as it is."""
        return not self.more_body and type(self.body) is bytes and not self.disconnected

    async def whole(self) -> bytes:
        """Return the body. Raises CancelledCallError: the client went away before its end."""
        while self.more_body and not self.disconnected:
            self.flow.resume_reading()
            await self.message_event.wait()
            self.message_event.clear()
        if self.disconnected:
            raise CancelledCallError("The client went away before its request was complete.")
        return bytes(self.body)

    @property
    def is_behind(self) -> bool:
        """Whether the client takes less than it is sent: then :meth:`caught_up` comes before an answer."""
        return self.flow.write_paused and not self.disconnected

    async def caught_up(self) -> None:
        """Wait until the client has taken what it was sent, or is gone."""
        await self.flow.drain()

    def answer(self, head: bytes, body: bytes | None) -> None:
        """Send a whole answer.

        :param head: the status line and the fields of this answer but its length, each line with its end.
        :param body: as it is sent unless HEAD was asked; None: the answer has no length either (RFC 9110 §8.6).
        """
        if self.disconnected:
            return
        self.response_started = True
        fields = _Lines.of(self.default_headers)
        end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        if body is None:
            self.transport.write(b"%b%b%b" % (head, fields, end))
        else:
            sent = b"" if self.scope["method"] == "HEAD" else body
            self.transport.write(b"%bcontent-length: %d\r\n%b%b%b" % (head, len(body), fields, end, sent))
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


def begun(express: Express, taken: Any, protocol: Any, method: bytes, *, keep_alive: bool) -> tuple[ExpressCycle, Any]:
    """Return the cycle of a request that was taken, and what serves it in the place of an ASGI application."""
    cycle = ExpressCycle(protocol, method, keep_alive=keep_alive)
    return cycle, partial(express.serve, taken, cycle)
