"""Heads of HTTP/2 streams: put together from their frames, and read (HPACK, RFC 7541)."""

from stylobate.rpc.mux import frames
from stylobate.rpc.mux.frames import ProtocolError

MAX_HEAD_BYTES = 64 * 1024
_TABLE_BYTES = 4096
_PRIORITY_BYTES = 5

Head = dict[str, str]


class Heads:
    """The heads of a connection, both ways."""

    def __init__(self) -> None:
        self.is_partial = False
        """Whether a head was begun and must go on."""
        from hpack import Decoder, Encoder, HPACKError  # noqa: PLC0415  with its tables, for processes that speak to others

        self._decoder = Decoder(MAX_HEAD_BYTES)
        self._encoder = Encoder()
        self._faults = (HPACKError, UnicodeDecodeError)
        self._block = b""
        self._stream = 0
        self._is_end = False

    def take(self, kind: int, flags: int, stream: int, payload: bytes) -> tuple[Head, bool] | None:
        """Take a frame; return the head that it completes, and whether nothing follows it. Raises ProtocolError."""
        if kind == frames.HEADERS:
            payload = frames.unpadded(flags, payload)
            self._block, self._stream, self._is_end = b"", stream, bool(flags & frames.END_STREAM)
            if flags & frames.WITH_PRIORITY:
                payload = payload[_PRIORITY_BYTES:]
        elif not self.is_partial:
            raise ProtocolError(frames.PROTOCOL_ERROR, "a head that nobody began")
        if stream != self._stream or not stream:
            raise ProtocolError(frames.PROTOCOL_ERROR, "a head of another stream")
        self._block += payload
        if len(self._block) > MAX_HEAD_BYTES:
            raise ProtocolError(frames.ENHANCE_YOUR_CALM, "a head is too large")
        self.is_partial = not flags & frames.END_HEADERS
        if self.is_partial:
            return None
        try:
            return {str(name): str(value) for name, value in self._decoder.decode(self._block)}, self._is_end
        except self._faults as error:
            raise ProtocolError(frames.COMPRESSION_ERROR, "a head cannot be read") from error

    def frame(self, stream: int, *head: tuple[str, str], is_end: bool) -> bytes:
        """Return the frame of a head that is small enough for one."""
        flags = frames.END_HEADERS | (frames.END_STREAM if is_end else 0)
        return frames.frame(frames.HEADERS, flags, stream, self._encoder.encode(head))

    def limit_table(self, octets: int) -> None:
        """Keep to the table that the other end grants."""
        self._encoder.header_table_size = min(octets, _TABLE_BYTES)
