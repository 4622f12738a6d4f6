"""gRPC's messages out of the octets of a stream (each has five before it: whether it is compressed, its length)."""

from collections.abc import Callable

from stylobate.rpc.mux import frames
from stylobate.rpc.mux.frames import ProtocolError

PREFIX_BYTES = 5
_MAX_PIECES = 256
"""Small ones take more than they hold."""


class Messages:
    """Puts messages together that came in pieces; holds no more than one of them.

    :param most: octets of the largest.
    :param take: gets each.
    """

    def __init__(self, most: int, take: Callable[[bytes], None]) -> None:
        self._most = most
        self._take = take
        self._pieces: list[bytes] = []
        self._held = self._needed = 0

    def feed(self, data: bytes) -> bool:
        """Take octets; return whether a message was among them. Raises ProtocolError."""
        if self._pieces:
            self._pieces.append(data)
            self._held += len(data)
            if self._held < self._needed:
                if len(self._pieces) > _MAX_PIECES:
                    self._pieces = [b"".join(self._pieces)]
                return False
            data = b"".join(self._pieces)
        at, end, needed, is_any = 0, len(data), PREFIX_BYTES, False
        while end - at >= PREFIX_BYTES:
            if data[at]:
                raise ProtocolError(frames.PROTOCOL_ERROR, "a message is compressed")
            size = int.from_bytes(data[at + 1 : at + PREFIX_BYTES], "big")
            if size > self._most:
                raise ProtocolError(frames.ENHANCE_YOUR_CALM, "a message is too large")
            needed = size + PREFIX_BYTES
            if end - at < needed:
                break
            self._take(data[at + PREFIX_BYTES : at + needed])
            at, needed, is_any = at + needed, PREFIX_BYTES, True
        self._pieces = [data[at:]] if at < end else []
        self._held, self._needed = end - at, needed
        return is_any


def prefixed(message: bytes) -> bytes:
    """Return the octets of a message in a stream."""
    return b"".join((b"\0", len(message).to_bytes(4, "big"), message))
