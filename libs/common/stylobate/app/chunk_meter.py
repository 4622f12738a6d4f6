"""What a chunked body carries beside its data: sizes, extensions, trailer fields. All of it is bounded, none of it is kept."""

from stylobate.app.http_bounds import MAX_TRAILER_BYTES
from stylobate.app.http_refusal import CHUNKS, TRAILERS
from stylobate.app.request_head import HeadRefusedError
from stylobate.errors import StylobateError

_FRAMING = 16
"""Bytes that a chunk's own framing may take without being counted."""
_MANY_CHUNKS = 1024
_SMALLEST_ON_AVERAGE = 64
"""Bytes of data a chunk must have on average once there are many: each costs as much as a small request."""


class ChunkMeter:
    """Counts one body. The parser's callbacks raise HeadRefusedError, which stops the parser at once."""

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
            raise HeadRefusedError(CHUNKS)

    def field(self, size: int) -> None:
        """Note a trailer field. It is dropped: it never becomes a field of the request (RFC 9110 section 6.5.1)."""
        self._fields += size
        if self._fields > MAX_TRAILER_BYTES:
            raise HeadRefusedError(TRAILERS)

    def fed(self, size: int) -> StylobateError | None:
        """Note how many bytes of the body were read without ending it; return why no more is read."""
        self._raw += size
        if self._raw - self._data - self._chunks * _FRAMING <= MAX_TRAILER_BYTES:
            return None
        return TRAILERS if self._is_trailing else CHUNKS
