"""Requests that offer another protocol.

Only an upgrade to WebSocket is taken up; any other is ignored (RFC 9110 section 7.8), and the request read as what else it is.
"""

from abc import ABC, abstractmethod
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from stylobate.app import http_rules as rules
from stylobate.app.connections import Connections


class HttpUpgrading(HttpToolsProtocol, ABC):
    """A connection that may become a WebSocket; :class:`~stylobate.app.http_protocol.HttpProtocol` is the whole."""

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], loop: Any, connections: Connections) -> None:
        super().__init__(config, server_state, app_state, loop)
        self._register = connections
        self._is_over = False
        """Whether nothing is read any more but to be thrown away."""
        self._upgrade = ""
        """What becomes of the request's offer: ``websocket``, ``ignored``; empty where there is none."""
        self._websocket_at: Any = self.ws_protocol_class
        self._make_websocket: Any = None

    @abstractmethod
    def _feed(self, data: Any) -> None:
        """Parse a slice and look at what it left unfinished."""

    def _is_left_aside(self, method: bytes, version: str) -> bool:
        """Return whether the request waits for the end of its head: the parser takes whatever follows for another protocol."""
        if method == b"CONNECT":
            raise rules.RequestRefusedError(rules.CONNECT)
        is_owed = self.cycle is not None and not self.cycle.response_complete
        wants = version == "1.1" and not is_owed and rules.has_token(self.headers, b"upgrade", b"websocket")
        if wants and (make := self._websocket_at(self.url)) is not None:
            if any(name == b"transfer-encoding" or (name == b"content-length" and int(value)) for name, value in self.headers):
                raise rules.RequestRefusedError(rules.UPGRADE_WITH_BODY)
            self._upgrade, self._make_websocket = "websocket", make
        else:
            self._upgrade = "ignored"
        return True

    def _go_on(self, rest: Any) -> None:
        """Go on behind the head of a request that offered another protocol."""
        method = self.parser.get_method()
        if self._upgrade == "websocket":
            self._become_websocket(method, bytes(rest))
            return
        version = self.parser.get_http_version().encode()
        lines = [method + b" " + self.url + b" HTTP/" + version]
        lines += [name + b": " + value for name, value in rules.without_upgrade(self.headers)]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._feed(b"\r\n".join([*lines, b"", b""]))
        if rest:
            self._feed(rest)

    def _become_websocket(self, method: bytes, rest: bytes) -> None:
        """Give the bare transport to the WebSocket protocol."""
        joined: Any = self.transport
        joined.flush()
        transport = joined.transport
        head = [method, b" ", self.url, b" HTTP/1.1\r\n"]
        for name, value in self.headers:
            head += [name, b": ", value, b"\r\n"]
        protocol = self._make_websocket(config=self.config, server_state=self.server_state, app_state=self.app_state)
        self._register.hand_over(self, protocol)
        self._is_over = True
        protocol.connection_made(transport)
        transport.set_protocol(protocol)
        protocol.data_received(b"".join([*head, b"\r\n", rest]))
