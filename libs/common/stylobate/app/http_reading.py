"""Reading requests: uvicorn's parser callbacks, held to what RFC 9112 demands of a server and to bounds in size."""

import asyncio
from abc import abstractmethod
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from stylobate.app import http_rules as rules
from stylobate.app.connections import Connections
from stylobate.app.express import Express, begun
from stylobate.app.http_bounds import MAX_FIELDS, MAX_HEAD_BYTES, MAX_PIPELINED, MAX_TARGET_BYTES
from stylobate.app.http_rules import WATCHED
from stylobate.app.http_upgrading import HttpUpgrading
from stylobate.errors import StylobateError
from stylobate.http.asgi import Headers

_LONG = 2 * 1024
"""Bytes of a read after which others are read before it goes on."""
_SLICE = 16 * 1024
"""Bytes the parser gets at once: what it makes of them is looked at in between."""
_HEAD_COST = 4 * 1024
_REQUEST_COST = 16 * 1024
"""What a connection costs while its head, or its body, is awaited, beside the bytes of these."""
_LINGER_BYTES = 1024 * 1024
_DRAIN_BYTES = 16 * 1024 * 1024
"""Of a body that nobody reads, since its answer is out already."""


class HttpReading(HttpUpgrading):
    """The reading half of a connection; :class:`~stylobate.app.http_protocol.HttpProtocol` is the whole."""

    def __init__(  # noqa: PLR0917  uvicorn's
        self,
        config: Any,
        server_state: Any,
        app_state: dict[str, Any],
        loop: Any,
        connections: Connections,
        express: Express | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, loop, connections)
        self._express: Any = express
        self._since = loop.time()
        """When the wait began that a deadline is for."""
        self._head = 0
        """Bytes of the head that is being read, as far as they came in reads of their own."""
        self._body = 0
        """The same of the body."""
        self._moved = 0
        """Of them, those since the wait began."""
        self._is_in_body = False
        self._has_completed = False
        """Whether a request ended in the slice that is parsed: what else is in it is not counted."""
        self._is_between = True
        """Whether all that was parsed is whole requests."""
        self._just_taken: tuple[bytes, bytes, Headers, Any] | None = None
        """Method, target and fields of the last request, and what was made of them, where it is answered without ASGI."""
        self._watched: list[tuple[bytes, bytes]] = []
        self._chunks: rules.ChunkMeter | None = None

    @abstractmethod
    def give_way(self, *, sending: bool) -> None:
        """End the connection: all of them hold too much together."""

    @abstractmethod
    def refuse(self, refusal: StylobateError) -> None:
        """Answer, and let nothing follow: where the next request would begin is unknown."""

    @abstractmethod
    def end(self, cause: str) -> None:
        """Drop the connection."""

    def data_received(self, data: bytes) -> None:
        """Parse what came, slice by slice. More is read when others have had their turn."""
        size = len(data)
        if size <= _LONG:
            self._feed(data)
            return
        view = memoryview(data)
        for start in range(0, size, _SLICE):
            self._feed(view[start : start + _SLICE])
        if (self._is_in_body or self._head or self._is_over) and self._upgrade != "websocket" and not self.transport.is_closing():
            joined: Any = self.transport
            self._register.reading.wait(self._register.whose(self), joined)

    # what the parser calls

    def on_message_begin(self) -> None:
        """Begin a request, unless too many wait before it."""
        if len(self.pipeline) >= MAX_PIPELINED:
            raise rules.RequestRefusedError(rules.PIPELINE)
        self._is_between = False
        self._just_taken = None
        self._watched = []
        self._chunks = None
        self._upgrade = ""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self.scope = {}  # type: ignore[typeddict-item]  # see _scope_of

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self.url += url
        if len(self.url) > MAX_TARGET_BYTES:
            raise rules.RequestRefusedError(rules.TARGET_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field of the head; drop one that comes behind the body."""
        if self._is_in_body:
            if self._chunks is not None:
                self._chunks.field(len(name) + len(value) + 4)
            return
        name = name.lower()
        if name in WATCHED:
            self._watched.append((name, value))
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
        if len(self.headers) >= MAX_FIELDS:
            raise rules.RequestRefusedError(rules.TOO_MANY_FIELDS)
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Let the request begin, or wait for its turn."""
        parser = self.parser
        version = parser.get_http_version()
        if refusal := rules.framing_refusal(self._watched, version):
            raise rules.RequestRefusedError(refusal)
        method = parser.get_method()
        if parser.should_upgrade() and self._is_left_aside(method, version):
            return
        if len(self._watched) > 1 and any(name == b"transfer-encoding" for name, _ in self._watched):  # the other is the host
            self._chunks = rules.ChunkMeter()
        before, app = self.cycle, self.app
        keep_alive = version == "1.1" and parser.should_keep_alive()
        if (taken := self._taken(method, version)) is not None:
            self.cycle, app = begun(self._express, taken, self, method, keep_alive=keep_alive)
            self.scope = self.cycle.scope
            if keep_alive:
                self._just_taken = method, self.url, self.headers, taken
        else:
            self.scope = self._scope_of(method, version)
            self.cycle = self._cycle(keep_alive=keep_alive)
        self._is_in_body = True
        self._head = self._body = 0
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, app))

    def _taken(self, method: bytes, version: str) -> Any:
        """Return the request as who answers some without ASGI takes it; None for all others."""
        express = self._express
        if express is None or (prefix := express.prefixes.get(method)) is None or not self.url.startswith(prefix):
            return None
        if version != "1.1" or self._chunks is not None or self.expect_100_continue or self._register.is_draining:
            return None
        return express.take(method, self.url, self.headers)

    def _scope_of(self, method: bytes, version: str) -> Any:
        """Return what ASGI tells an application of a request. Raises RequestRefusedError for a path or query that is none."""
        url = httptools.parse_url(self.url)
        # of a whole URI the path may be empty (RFC 9112 section 3.2.4)
        path = url.path or (b"*" if method == b"OPTIONS" and not url.query else b"/")
        if path == b"*" and method != b"OPTIONS":
            raise rules.RequestRefusedError(rules.ASTERISK)
        return {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": method.decode("ascii"),
            "root_path": self.root_path,
            "path": rules.decoded(path),
            "raw_path": path,
            "query_string": rules.readable(url.query) if url.query else b"",
            "headers": self.headers,
            "state": self.app_state.copy(),
        }

    def on_chunk_header(self) -> None:
        """Note the head of a chunk."""
        if self._chunks is not None:
            self._chunks.begin()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        if self._chunks is not None:
            self._chunks.data(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Expect the next head."""
        if self._upgrade:
            return
        if not self._register.received.settle(self):
            raise rules.RequestRefusedError(rules.OVERLOADED)
        self._is_in_body = False
        self._is_between = self._has_completed = True
        self._head = 0
        super().on_message_complete()

    def _cycle(self, *, keep_alive: bool) -> RequestResponseCycle:
        return RequestResponseCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=keep_alive and not self._register.is_draining,
            on_response=self.on_response_complete,
        )

    # reading

    def _feed(self, data: Any) -> None:
        """Parse a slice and look at what it left unfinished."""
        if self._is_over:
            self._throw_away(len(data))
            return
        self._has_completed = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self.refuse(_refusal_of(error))
        else:
            if self._is_in_body:
                self._count_body(data)
            elif not self._has_completed:
                self._count_head(len(data))

    def _count_head(self, size: int) -> None:
        now = self.loop.time()
        if not self._head and self.cycle is not None:  # a connection's first head is awaited since it was made
            self._since = now
        self._head += size
        if self._head > MAX_HEAD_BYTES:
            self.refuse(rules.HEAD_TOO_LARGE)
        else:
            self._register.received.hold(self, self._head + _HEAD_COST, self._head, now)

    def _count_body(self, data: Any) -> None:
        now, size = self.loop.time(), len(data)
        is_first = not self._body
        if is_first:
            self._since, self._moved = now, 0
        self._body += size
        self._moved += size
        if self._chunks is not None:
            if is_first:  # its head is in the slice too; behind another request it cannot be told where it ends
                end = -1 if self._has_completed else bytes(data).find(b"\r\n\r\n")
                size = size - end - 4 if end >= 0 else 0
            if refusal := self._chunks.fed(size):
                self.refuse(refusal)
                return
        if not self.cycle.response_complete:
            self._register.received.hold(self, self._body + _REQUEST_COST, self._moved, now)
        elif self._body > _DRAIN_BYTES:
            self.end("body")

    def _throw_away(self, size: int) -> None:
        self._body += size
        if self._body > _LINGER_BYTES:
            self.transport.abort()


def _refusal_of(error: httptools.HttpParserError) -> StylobateError:
    """Return why the parser stopped. A cause kept by its own frame would keep the data until the collector comes."""
    cause = error.__context__
    return cause.refusal if isinstance(cause, rules.RequestRefusedError) else rules.MALFORMED
