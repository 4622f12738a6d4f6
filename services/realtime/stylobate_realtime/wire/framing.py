"""WebSocket frames: what a client sends becomes whole messages; what a server sends needs no state (RFC 6455 §5)."""

import codecs
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
_MAX_PIECES = 1024
"""Fragments of one message: empty ones could go on forever."""
_UTF8 = codecs.getincrementaldecoder("utf-8")


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
POLICY = 1008
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

    Text is checked as it arrives, not at the end of its message. What is held is the message under way and less than one
    head or control frame.

    :param limit: bytes of a message, fragments together.
    """

    __slots__ = ("_buffer", "_decoder", "_fragments", "_is_last", "_left", "_limit", "_mask", "_opcode", "_pieces", "is_paused")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = b""
        self._fragments: bytearray | None = None
        """The message under way, unmasked."""
        self._opcode = 0
        self._decoder: codecs.IncrementalDecoder | None = None
        """Of the message under way, when it is text."""
        self._pieces = 0
        self._left = 0
        """Bytes of the frame under way that have not come yet."""
        self._mask = b""
        self._is_last = False
        self.is_paused = False
        """Set while what was handed out is to be dealt with first: the rest is held until the next call, which may bring none."""

    @property
    def is_amid(self) -> bool:
        """Whether a frame or message has begun and is not whole."""
        return bool(self._buffer) or self._fragments is not None

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield ``(opcode, payload)`` of each whole message and control frame. Raises FramingError after those before it."""
        buffer = self._buffer + data if self._buffer else data
        self._buffer = b""
        position, end = 0, len(buffer)
        while position < end if self._left else end - position >= 2:  # noqa: PLR2004  the shortest head
            if self._left:
                position = self._go_on(buffer, position)
            else:
                head = self._head(buffer, position, end)
                if head is None:
                    break
                first, mask, body, length = head
                is_control = first & _CONTROL
                if end - body >= length and (is_control or (first & _FIN and self._fragments is None)):  # nearly always
                    position = body + length
                    payload = _unmasked(mask, buffer[body:position])
                    if first & _OPCODE == Opcode.TEXT:
                        _check_text(payload)
                    yield first & _OPCODE, payload
                    if self.is_paused:
                        break
                    continue
                if is_control:
                    break
                self._begin(first, mask, length)
                position = body
            if self._is_last and not self._left:
                yield self._whole()
                if self.is_paused:
                    break
        self._buffer = buffer[position:]

    def _head(self, buffer: bytes, position: int, end: int) -> tuple[int, bytes, int, int] | None:
        """Return a frame's first byte, mask, where its body begins and how long it is; None when that has not come whole."""
        first, second = buffer[position], buffer[position + 1]
        length = second & _LENGTH
        self._check(first, second, length)
        body = position + 2
        if length >= _LENGTH_16:
            width = 2 if length == _LENGTH_16 else 8
            if end - body < width:
                return None
            length = _long_length(buffer[body : body + width])
            body += width
        if length > self._limit or (self._fragments is not None and length + len(self._fragments) > self._limit):
            raise FramingError(TOO_BIG, "message too big")
        if end - body < 4:  # noqa: PLR2004  the mask
            return None
        return first, buffer[body : body + 4], body + 4, length

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

    def _begin(self, first: int, mask: bytes, length: int) -> None:
        """Begin a data frame that is a fragment or has not come whole."""
        if self._fragments is None:
            self._opcode, self._fragments, self._pieces = first & _OPCODE, bytearray(), 0
            self._decoder = _UTF8() if self._opcode == Opcode.TEXT else None
        self._pieces += 1
        if self._pieces > _MAX_PIECES:
            raise FramingError(POLICY, "too many fragments")
        self._left, self._mask, self._is_last = length, mask, bool(first & _FIN)

    def _go_on(self, buffer: bytes, position: int) -> int:
        """Take more of the frame under way; return the position behind it."""
        assert self._fragments is not None  # noqa: S101  for the type checker
        masked = buffer[position : position + self._left]
        size = len(masked)
        self._left -= size
        payload = _unmasked(self._mask, masked)
        turn = size % 4
        self._mask = self._mask[turn:] + self._mask[:turn]
        self._fragments += payload
        self._decode(payload, final=False)
        return position + size

    def _whole(self) -> tuple[int, bytes]:
        """Return the message that has just come whole."""
        payload = bytes(self._fragments or b"")
        self._fragments, self._is_last = None, False
        self._decode(b"", final=True)
        return self._opcode, payload

    def _decode(self, payload: bytes, *, final: bool) -> None:
        if self._decoder is None:
            return
        try:
            self._decoder.decode(payload, final)
        except UnicodeDecodeError:
            raise FramingError(INVALID_TEXT, "invalid text") from None
        pending = self._decoder.getstate()[0]
        if pending[:1] == b"\xed" and pending[1:] >= b"\xa0":  # a surrogate: the decoder waits for its third byte
            raise FramingError(INVALID_TEXT, "invalid text")


def _long_length(encoded: bytes) -> int:
    """Return a length of two or eight bytes. Raises FramingError when fewer would have done (RFC 6455 §5.2)."""
    length = int.from_bytes(encoded, "big")
    if length < (_LENGTH_16 if len(encoded) == 2 else 1 << 16) or length >> 63:  # noqa: PLR2004  the shorter form
        raise FramingError(PROTOCOL_ERROR, "invalid length")
    return length


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
