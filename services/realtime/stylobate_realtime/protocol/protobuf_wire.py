"""Protobuf's wire format: varints, and how a table describes a field."""

from dataclasses import dataclass, field
from enum import Enum

from msgspec import Struct

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BITS = 70
_MASK_64 = 2**64 - 1


class Kind(Enum):
    """How a field's value stands on the wire."""

    TEXT = ("text", LENGTH)
    RAW = ("raw", LENGTH)
    MESSAGE = ("message", LENGTH)
    TEXT_MAP = ("text map", LENGTH)
    MESSAGE_MAP = ("message map", LENGTH)
    INT = ("int", VARINT)
    BOOL = ("bool", VARINT)

    @property
    def wire(self) -> int:
        """The wire type."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message."""

    number: int
    name: str
    kind: Kind = Kind.TEXT
    message: type[Struct] | None = None
    """For a message, and for the values of a map of messages."""
    key: bytes = field(init=False)
    """Number and wire type, as they precede the value."""

    def __post_init__(self) -> None:
        """Encode the key once."""
        object.__setattr__(self, "key", varint(self.number << 3 | self.kind.wire))


class TruncatedError(Exception):
    """The bytes end too early or say something that cannot be."""


def varint(number: int) -> bytes:
    """Return the number (negative ones as 64-bit two's complement) in groups of seven bits, lowest first."""
    number &= _MASK_64
    if number < 0x80:  # noqa: PLR2004  one byte: the usual case
        return number.to_bytes(1, "little")
    out = bytearray()
    while number >= 0x80:  # noqa: PLR2004  more groups follow
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Return the unsigned number at the position and the position behind it. Raises TruncatedError."""
    number = shift = 0
    while position < end:
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004  the last group
            return number & _MASK_64, position
        shift += 7
        if shift >= _MAX_VARINT_BITS:
            raise TruncatedError("a number beyond 64 bits")
    raise TruncatedError("a number that does not end")
