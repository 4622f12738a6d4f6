"""The upgrade request: read, checked, answered (RFC 6455 §4)."""

import binascii
import hashlib
import re
from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

import orjson

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES = 16
_MAX_QUERY = 32
"""Parameters of the query."""
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::[0-9]{0,5})?")
JSON_PROTOCOL = "centrifuge-json"
PROTOBUF_PROTOCOL = "centrifuge-protobuf"
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_CONTROL_CHARACTERS = frozenset(map(chr, (*range(9), *range(10, 32), 127)))


class UpgradeRefusedError(Exception):
    """The request gets an HTTP answer instead of a WebSocket."""

    def __init__(self, status: HTTPStatus, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})

    def response(self) -> bytes:
        """Return the whole answer: problem+json (RFC 9457), then the connection ends."""
        body = orjson.dumps(
            {
                "type": f"/problems/{self.code.lower().replace('_', '-')}",
                "title": self.status.phrase,
                "status": self.status.value,
                "detail": self.detail,
                "code": self.code,
            }
        )
        headers = {
            "content-type": "application/problem+json",
            "content-length": str(len(body)),
            "connection": "close",
            "date": formatdate(usegmt=True),
            **self.headers,
        }
        lines = [f"HTTP/1.1 {self.status.value} {self.status.phrase}", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
        return "\r\n".join(lines).encode() + body


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
        """Read the head of a request, up to the empty line. Raises UpgradeRefusedError."""
        try:
            request_line, *lines = head.decode("latin-1").split("\r\n")
            method, target, version = request_line.split(" ")
            url = urlsplit(target)
            query = parse_qs(url.query, max_num_fields=_MAX_QUERY)
        except ValueError:
            raise _bad_request("The request line cannot be read.") from None
        if version != "HTTP/1.1":
            raise _bad_request("A WebSocket is opened in HTTP/1.1 (RFC 6455 section 4.1).")
        headers: dict[str, list[str]] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not _CONTROL_CHARACTERS.isdisjoint(line):
                raise _bad_request("A header cannot be read.")
            headers.setdefault(name.lower(), []).append(value.strip())
        return cls(method, url.path, query, headers)

    def header(self, name: str) -> str:
        """Return the header's value, several ones joined by commas; empty when it is absent."""
        return ", ".join(self.headers.get(name, ()))

    def tokens(self, name: str) -> list[str]:
        """Return the entries of a comma-separated header; an empty header has none."""
        return [token for part in self.header(name).split(",") if (token := part.strip())]

    def check(self, paths: Collection[str]) -> None:
        """Refuse what is not an upgrade to a WebSocket of version 13 on one of the paths. Raises UpgradeRefusedError."""
        if self.path not in paths:
            raise UpgradeRefusedError(HTTPStatus.NOT_FOUND, "NOT_FOUND", "There is no WebSocket at this path.")
        if len(self.headers.get("host", ())) != 1 or not _HOST.fullmatch(self.header("host")):
            raise _bad_request("A request has one Host, and it is a host with or without a port (RFC 9112 section 3.2).")
        if self.method != "GET":
            raise UpgradeRefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "Use GET.", {"allow": "GET"})
        if self.header("sec-websocket-version") != "13":
            raise UpgradeRefusedError(
                HTTPStatus.UPGRADE_REQUIRED,
                "UPGRADE_REQUIRED",
                "Only WebSocket version 13 is spoken here.",
                {"sec-websocket-version": "13", "upgrade": "websocket"},
            )
        try:
            key = b64decode(self.header("sec-websocket-key"), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != _KEY_BYTES:
            raise _bad_request("Sec-WebSocket-Key is not 16 bytes in base64.")

    def check_origin(self, allowed: Collection[str], *, loopback: bool) -> None:
        """Refuse a browser's page from elsewhere. Raises UpgradeRefusedError.

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
            raise UpgradeRefusedError(
                HTTPStatus.FORBIDDEN,
                "REALTIME_ORIGIN_REFUSED",
                "Pages of this origin may not connect; see the setting allowed_origins.",
            )

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


def _bad_request(detail: str) -> UpgradeRefusedError:
    return UpgradeRefusedError(HTTPStatus.BAD_REQUEST, "BAD_REQUEST", detail)


def _host_of(origin: str) -> tuple[str, str]:
    """Return an origin's host with its port, and without; empty ones for what is no origin."""
    try:
        url = urlsplit(origin)
        return url.netloc, url.hostname or ""
    except ValueError:
        return "", ""


def _without_default_port(netloc: str) -> str:
    return netloc.removesuffix(":80").removesuffix(":443")
