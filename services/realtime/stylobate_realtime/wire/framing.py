"""WebSocket frames: what a client sends becomes whole messages; what a server sends needs no state (RFC 6455 §5)."""

from collections.abc import Iterator
from enum import IntEnum

_FIN = 0x80
_RESERVED = 0x70
_OPCODE = 0x0F
_MASKED = 0x80
_LENGTH = 0x7F
_LENGTH_16, _LENGTH_64 = 126, 127
_CONTROL = 0x08
_MAX_CONTROL = 125
_MAX_REASON = 123


class Opcode(IntEnum):
    """What a frame is."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


PROTOCOL_ERROR = 1002
INVALID_TEXT = 1007
TOO_BIG = 1009
_NO_STATUS = 1005

_KNOWN = frozenset(Opcode)
# What a peer may put into a close frame (RFC 6455 §7.4); 1004-1006 and 1015 never travel.
_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})
_PRIVATE_CODES = range(3000, 5000)


class FramingError(Exception):
    """The client broke the framing; the connection closes with the code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def frame(opcode: int, payload: bytes) -> bytes:
    """Return an unmasked, final frame: the same bytes serve every connection."""
    length = len(payload)
    if length < _LENGTH_16:
        return bytes((_FIN | opcode, length)) + payload
    if length < 1 << 16:
        return bytes((_FIN | opcode, _LENGTH_16)) + length.to_bytes(2, "big") + payload
    return bytes((_FIN | opcode, _LENGTH_64)) + length.to_bytes(8, "big") + payload


def close_frame(code: int, reason: str) -> bytes:
    """Return a close frame; the reason is cut to what one can hold."""
    if code == _NO_STATUS:
        return frame(Opcode.CLOSE, b"")
    return frame(Opcode.CLOSE, code.to_bytes(2, "big") + reason.encode()[:_MAX_REASON])


def close_code(payload: bytes) -> int:
    """Return the code of a peer's close frame; 1005 when it has none.

    :raises FramingError: a code that may not travel, or a reason that is not text.
    """
    if not payload:
        return _NO_STATUS
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or (code not in _CLOSE_CODES and code not in _PRIVATE_CODES):
        raise FramingError(PROTOCOL_ERROR, "invalid close code")
    _check_text(payload[2:])
    return code


class FrameReader:
    """Cuts a client's bytes into messages, joins fragments and hands control frames through as they come.

    :param limit: bytes of a message, fragments together.
    """

    __slots__ = ("_buffer", "_fragments", "_limit", "_opcode")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = b""
        self._fragments: bytearray | None = None
        self._opcode = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield ``(opcode, payload)`` of each whole message and control frame. Raises FramingError after those before it."""
        buffer = self._buffer + data if self._buffer else data
        self._buffer = b""
        position, end = 0, len(buffer)
        while end - position >= 2:  # noqa: PLR2004  the shortest header
            first, second = buffer[position], buffer[position + 1]
            length = second & _LENGTH
            self._check(first, second, length)
            body = position + 2
            if length >= _LENGTH_16:
                width = 2 if length == _LENGTH_16 else 8
                if end - body < width:
                    break
                length = int.from_bytes(buffer[body : body + width], "big")
                body += width
            if length > self._limit or (self._fragments is not None and length + len(self._fragments) > self._limit):
                raise FramingError(TOO_BIG, "message too big")
            if end - body < 4 + length:
                break
            payload = _unmasked(buffer[body : body + 4], buffer[body + 4 : body + 4 + length])
            position = body + 4 + length
            message = self._message(first, payload)
            if message is not None:
                yield message
        self._buffer = buffer[position:]

    def _check(self, first: int, second: int, length: int) -> None:
        opcode = first & _OPCODE
        if not second & _MASKED:
            raise FramingError(PROTOCOL_ERROR, "unmasked frame")
        if first & _RESERVED or opcode not in _KNOWN:
            raise FramingError(PROTOCOL_ERROR, "unknown frame")
        if opcode & _CONTROL:
            if length > _MAX_CONTROL or not first & _FIN:
                raise FramingError(PROTOCOL_ERROR, "invalid control frame")
        elif (opcode == Opcode.CONTINUATION) == (self._fragments is None):
            raise FramingError(PROTOCOL_ERROR, "unexpected fragment")

    def _message(self, first: int, payload: bytes) -> tuple[int, bytes] | None:
        opcode = first & _OPCODE
        if opcode & _CONTROL:
            return opcode, payload
        if self._fragments is not None:
            self._fragments += payload
            if not first & _FIN:
                return None
            opcode, payload = self._opcode, bytes(self._fragments)
            self._fragments = None
        elif not first & _FIN:
            self._opcode, self._fragments = opcode, bytearray(payload)
            return None
        if opcode == Opcode.TEXT:
            _check_text(payload)
        return opcode, payload


def _unmasked(mask: bytes, payload: bytes) -> bytes:
    if mask == b"\0\0\0\0":
        return payload
    length = len(payload)
    key = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(length, "little")


def _check_text(payload: bytes) -> None:
    if not payload.isascii():
        try:
            payload.decode()
        except UnicodeDecodeError:
            raise FramingError(INVALID_TEXT, "invalid text") from None
