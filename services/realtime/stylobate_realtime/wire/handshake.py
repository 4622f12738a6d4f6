"""The upgrade request: read, checked, answered (RFC 6455 §4)."""

import binascii
import hashlib
from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from urllib.parse import parse_qs, urlsplit

from stylobate.app.http_rules import HOST, is_host
from stylobate.errors import NotFoundError
from stylobate.http.errors import MalformedRequestError, MethodNotAllowedError, UpgradeRequiredError
from stylobate.identity.api_key import the_credential
from stylobate.identity.session_cookie import cookie_pairs

from stylobate_realtime.errors import OriginRefusedError

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES = 16
_BEARER = "bearer "
_MAX_QUERY = 32
"""Parameters of the query."""
JSON_PROTOCOL = "centrifuge-json"
PROTOBUF_PROTOCOL = "centrifuge-protobuf"
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_CONTROL_CHARACTERS = frozenset(map(chr, (*range(9), *range(10, 32), 127)))


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """A client's request for a WebSocket, as it came."""

    method: str
    path: str
    query: Mapping[str, Sequence[str]]
    headers: Mapping[str, Sequence[str]]
    """By lower-case name, in order."""

    @classmethod
    def parse(cls, head: bytes) -> "UpgradeRequest":
        """Read the head of a request, up to the empty line. Raises MalformedRequestError."""
        try:
            request_line, *lines = head.decode("latin-1").split("\r\n")
            method, target, version = request_line.split(" ")
            url = urlsplit(target)
            query = parse_qs(url.query, max_num_fields=_MAX_QUERY)
        except ValueError:
            raise MalformedRequestError("The request line cannot be read.") from None
        if version != "HTTP/1.1":
            raise MalformedRequestError("A WebSocket is opened in HTTP/1.1 (RFC 6455 section 4.1).")
        headers: dict[str, list[str]] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not _CONTROL_CHARACTERS.isdisjoint(line):
                raise MalformedRequestError("A header cannot be read.")
            headers.setdefault(name.lower(), []).append(value.strip())
        return cls(method, url.path, query, headers)

    def header(self, name: str) -> str:
        """Return the header's value, several ones joined by commas; empty when it is absent."""
        return ", ".join(self.headers.get(name, ()))

    def tokens(self, name: str) -> list[str]:
        """Return the entries of a comma-separated header; an empty header has none."""
        return [token for part in self.header(name).split(",") if (token := part.strip())]

    @property
    def credential(self) -> str:
        """The bearer token or API key that came with the request; empty: none did. Raises ApiKeyInvalidError for two."""
        authorization = self.header("authorization")
        if "x-api-key" in self.headers:
            authorization = the_credential(authorization, self.header("x-api-key"))
        return authorization[len(_BEARER) :].strip() if authorization[: len(_BEARER)].lower() == _BEARER else ""

    def cookie(self, name: str) -> str:
        """Return the value of a cookie; empty: there is none, or there are two of the name that differ."""
        found = {value for key, value in cookie_pairs(self.headers.get("cookie", ())) if key == name}
        return found.pop() if len(found) == 1 else ""

    def check(self, paths: Collection[str]) -> None:
        """Refuse what is not an upgrade to a WebSocket of version 13 on one of the paths. Raises StylobateError."""
        if self.path not in paths:
            raise NotFoundError("There is no WebSocket at this path.")
        host = self.header("host")
        if len(self.headers.get("host", ())) != 1 or not host or not is_host(host.encode("latin-1")):
            raise MalformedRequestError(HOST.detail)
        if self.method != "GET":
            raise MethodNotAllowedError("Use GET.", metadata={"allow": "GET"})
        if self.header("sec-websocket-version") != "13":
            raise UpgradeRequiredError
        try:
            key = b64decode(self.header("sec-websocket-key"), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != _KEY_BYTES:
            raise MalformedRequestError("Sec-WebSocket-Key is not 16 bytes in base64.")

    def check_origin(self, allowed: Collection[str], *, loopback: bool) -> None:
        """Refuse a browser's page from elsewhere. Raises OriginRefusedError.

        :param allowed: origins such as ``https://app.example.com``, or ``*``; empty: the host that was asked.
        :param loopback: whether pages of this machine are welcome too, on whichever port.
        """
        if "origin" not in self.headers or "*" in allowed:
            return
        origin = self.header("origin").lower()
        netloc, hostname = _host_of(origin)
        is_ours = origin in {entry.lower().rstrip("/") for entry in allowed}
        if not allowed:
            is_ours = bool(netloc) and _without_default_port(netloc) == _without_default_port(self.header("host").lower())
        if not (is_ours or (loopback and hostname in _LOOPBACK_NAMES)):
            raise OriginRefusedError

    @property
    def subprotocol(self) -> str:
        """The first offered subprotocol that we speak; empty when none was offered."""
        return next((name for name in self.tokens("sec-websocket-protocol") if name in {JSON_PROTOCOL, PROTOBUF_PROTOCOL}), "")

    @property
    def wants_protobuf(self) -> bool:
        """Whether the connection speaks protobuf; else JSON."""
        asked = (*self.query.get("format", ()), *self.query.get("cf_protocol", ()))
        return self.subprotocol == PROTOBUF_PROTOCOL or (not self.subprotocol and "protobuf" in asked)

    def response(self) -> bytes:
        """Return the answer that opens the WebSocket."""
        digest = hashlib.sha1(self.header("sec-websocket-key").encode() + _GUID, usedforsecurity=False).digest()
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {b64encode(digest).decode()}",
            f"Date: {formatdate(usegmt=True)}",
        ]
        if self.subprotocol:
            lines.append(f"Sec-WebSocket-Protocol: {self.subprotocol}")
        return "\r\n".join([*lines, "", ""]).encode()


def _host_of(origin: str) -> tuple[str, str]:
    """Return an origin's host with its port, and without; empty ones for what is not an origin."""
    try:
        url = urlsplit(origin)
        return url.netloc, url.hostname or ""
    except ValueError:
        return "", ""


def _without_default_port(netloc: str) -> str:
    return netloc.removesuffix(":80").removesuffix(":443")
