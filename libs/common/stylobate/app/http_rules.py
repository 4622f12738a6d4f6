"""What a request must be before an application sees it: its host, its framing, its path and query, its chunks.

The refusals are what the listener answers by itself, for what never becomes a request. They are answered with, never raised.
"""

import re
from collections.abc import Sequence
from datetime import timedelta
from urllib.parse import unquote_to_bytes

from stylobate.app.http_bounds import MAX_TRAILER_BYTES
from stylobate.errors import StylobateError
from stylobate.http import errors

Headers = Sequence[tuple[bytes, bytes]]

WATCHED = frozenset({b"host", b"transfer-encoding", b"expect"})
"""Fields that :func:`framing_refusal` and the protocol look at; the others cost one look-up."""
VERSIONS = ("1.1", "1.0")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]{0,5})?")
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_FRAMING = 16
"""Bytes that a chunk's own framing may take without being counted."""
_MANY_CHUNKS = 1024
_SMALLEST_ON_AVERAGE = 64
"""Bytes of data a chunk must have on average once there are many: each costs as much as a small request."""
_SOON = timedelta(seconds=1)

MALFORMED = errors.MalformedRequestError()
HOST = errors.MalformedRequestError("A request has one Host, and it is a host with or without a port (RFC 9112 section 3.2).")
PATH = errors.MalformedPathError()
QUERY = errors.MalformedQueryError()
ASTERISK = errors.MalformedRequestError("A request for * is OPTIONS (RFC 9112 section 3.2.4).")
TRANSFER_ENCODING = errors.MalformedRequestError(
    "Transfer-Encoding is for HTTP/1.1, stands once and ends with chunked (RFC 9112 section 6.1)."
)
CODING = errors.TransferCodingUnsupportedError()
UPGRADE_WITH_BODY = errors.MalformedRequestError("A request for a WebSocket has no body.")
CHUNKS = errors.MalformedRequestError("The chunks of the body carry far more than its data.")
CONNECT = errors.MethodNotAllowedError("This is not a proxy.", metadata={"allow": "GET, HEAD, POST"})
HEAD_TOO_LARGE = errors.HeadersTooLargeError()
TARGET_TOO_LONG = errors.UriTooLongError()
TOO_MANY_FIELDS = errors.HeadersTooLargeError("The head has too many fields.")
TRAILERS = errors.HeadersTooLargeError("The fields behind the body are too large.")
PIPELINE = errors.PipelineTooLongError()
HEAD_LATE = errors.RequestTimeoutError("The head of the request did not come in time.")
BODY_LATE = errors.RequestTimeoutError("The body of the request did not come in time.")
FULL = errors.TooManyConnectionsError(retry_after=_SOON)
FULL_ADDRESS = errors.TooManyConnectionsError("Too many connections of this address are open.", retry_after=_SOON)
UNREADABLE = errors.TooManyUnreadableRequestsError(retry_after=timedelta(seconds=10))
OVERLOADED = errors.OverloadedError(retry_after=_SOON)
TOO_MUCH = errors.OverloadedError("More is asked than can be done in time.", retry_after=_SOON)


class RequestRefusedError(Exception):
    """Raised in the parser's callbacks, which stops the parser at once."""

    def __init__(self, refusal: StylobateError) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


def framing_refusal(watched: Headers, version: str) -> StylobateError | None:
    """Return why the head cannot be taken, None when it can.

    :param watched: its fields that are in :data:`WATCHED`, names in lower case.
    :param version: ``1.1`` or ``1.0``.
    """
    if version not in VERSIONS:
        return MALFORMED
    hosts = 0
    codings = []
    for name, value in watched:
        if name == b"host":
            hosts += 1
            if not is_host(value):
                return HOST
        elif name == b"transfer-encoding":
            codings.append(value)
    if hosts > 1 or (not hosts and version != "1.0"):
        return HOST
    if codings and (version == "1.0" or len(codings) > 1):
        return TRANSFER_ENCODING
    if codings and codings[0].lower() != b"chunked":
        return CODING if codings[0].lower().endswith(b"chunked") else TRANSFER_ENCODING
    return None


def is_host(value: bytes) -> bool:
    """Return whether it is a host with or without a port; an empty one is too (RFC 9110 section 7.2)."""
    return _HOST.fullmatch(value) is not None


def decoded(path: bytes) -> str:
    """Return the path that was sent, decoded. Raises RequestRefusedError for what would make two spellings one."""
    if ord("%") not in path:
        try:
            return path.decode("ascii")
        except UnicodeDecodeError:
            raise RequestRefusedError(PATH) from None
    if _BROKEN_ESCAPE.search(path) is not None or not path.isascii():
        raise RequestRefusedError(PATH)
    try:
        return unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        raise RequestRefusedError(PATH) from None


def readable(query: bytes) -> bytes:
    """Return the query that was sent, as it is. Raises RequestRefusedError where something would have to be replaced.

    A lone ``%`` stands for itself there (the URL standard's application/x-www-form-urlencoded).
    """
    try:
        (unquote_to_bytes(query) if b"%" in query else query).decode()
    except UnicodeDecodeError:
        raise RequestRefusedError(QUERY) from None
    if not query.isascii():
        raise RequestRefusedError(QUERY)
    return query


def has_token(headers: Headers, name: bytes, token: bytes) -> bool:
    """Return whether the comma-separated field has the token, in any case and on any of its lines."""
    return any(found == name and token in (part.strip().lower() for part in value.split(b",")) for found, value in headers)


def without_upgrade(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the head's fields as if nothing but HTTP/1.1 had been offered (RFC 9110 section 7.8)."""
    kept = []
    for name, value in headers:
        if name == b"upgrade":
            continue
        if name == b"connection":
            options = [part.strip() for part in value.split(b",")]
            value = b", ".join(part for part in options if part.lower() != b"upgrade")  # noqa: PLW2901  what is left of it
            if not value:
                continue
        kept.append((name, value))
    return kept


class ChunkMeter:
    """Counts one body. The parser's callbacks raise RequestRefusedError, which stops the parser at once."""

    __slots__ = ("_chunks", "_data", "_fields", "_is_trailing", "_raw")

    def __init__(self) -> None:
        self._raw = 0
        self._data = 0
        self._chunks = 0
        self._fields = 0
        self._is_trailing = False

    def begin(self) -> None:
        """Note the head of a chunk. Nothing but fields may come behind the last one."""
        self._is_trailing = True

    def data(self, size: int) -> None:
        """Note data."""
        self._is_trailing = False
        self._data += size
        self._chunks += 1
        if self._chunks > _MANY_CHUNKS and self._data < self._chunks * _SMALLEST_ON_AVERAGE:
            raise RequestRefusedError(CHUNKS)

    def field(self, size: int) -> None:
        """Note a trailer field. It is dropped: it never becomes a field of the request (RFC 9110 section 6.5.1)."""
        self._fields += size
        if self._fields > MAX_TRAILER_BYTES:
            raise RequestRefusedError(TRAILERS)

    def fed(self, size: int) -> StylobateError | None:
        """Note how many bytes of the body were read without ending it; return why no more is read."""
        self._raw += size
        if self._raw - self._data - self._chunks * _FRAMING <= MAX_TRAILER_BYTES:
            return None
        return TRAILERS if self._is_trailing else CHUNKS
