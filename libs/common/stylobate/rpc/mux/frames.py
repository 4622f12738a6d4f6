"""Frames of HTTP/2 (RFC 9113), as far as one gRPC stream on a connection needs them."""

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(1, 7)
"""Settings (§6.5.2)."""
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED = range(6)
"""Error codes (§7)."""
FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 6, 7, 8, 9, 11

HEAD_BYTES = 9
FIRST_WINDOW = 65_535
LEAST_FRAME = 16_384
"""What an end takes before it has said anything else."""
MAX_WINDOW = 2**31 - 1
MAX_STREAM = 2**31 - 1
_MOST_FRAME = 2**24 - 1
_SETTING = struct.Struct(">HI")


class ProtocolError(Exception):
    """The other end broke the protocol; the connection is over.

    :param code: of HTTP/2.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return an encoded frame."""
    return b"".join((len(payload).to_bytes(3, "big"), bytes((kind, flags)), stream.to_bytes(4, "big"), payload))


def settings_frame(*settings: tuple[int, int]) -> bytes:
    """Return the frame that says what this end grants."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(key, value) for key, value in settings))


def window_frame(stream: int, octets: int) -> bytes:
    """Return the frame that lets the other end send so much more."""
    return frame(WINDOW_UPDATE, 0, stream, octets.to_bytes(4, "big"))


def goaway_frame(code: int, text: str, last: int = MAX_STREAM) -> bytes:
    """Return the frame that says that no further stream is wanted, and why."""
    return frame(GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big") + text.encode())


def read_settings(payload: bytes) -> dict[int, int]:
    """Return the settings of the other end. Raises ProtocolError for one that there cannot be."""
    if len(payload) % _SETTING.size:
        raise ProtocolError(FRAME_SIZE_ERROR, "settings are cut off")
    found = dict(_SETTING.iter_unpack(payload))
    if found.get(INITIAL_WINDOW_SIZE, 0) > MAX_WINDOW:
        raise ProtocolError(FLOW_CONTROL_ERROR, "the initial window is too large")
    if not LEAST_FRAME <= found.get(MAX_FRAME_SIZE, LEAST_FRAME) <= _MOST_FRAME:
        raise ProtocolError(PROTOCOL_ERROR, "the frame size is out of its bounds")
    return found


def unpadded(flags: int, payload: bytes) -> bytes:
    """Return what a DATA or HEADERS frame holds. Raises ProtocolError where it is all padding and more."""
    if flags & PADDED:
        if not payload or payload[0] >= len(payload):
            raise ProtocolError(PROTOCOL_ERROR, "a frame holds more padding than octets")
        payload = payload[1 : len(payload) - payload[0]]
    return payload
