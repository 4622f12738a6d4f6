"""Values as bytes that compare as the values do, so that a range of an index is a range of bytes.

A field without a value is 0, below every other. No encoding is the beginning of another one, so fields can follow one another.
A text is its UTF-8 (the order of code points) up to a 0; a number its sign, decimal exponent and digits in pairs, exact however
long; a time its microseconds in UTC. ``store/migrations/0003_indexes.sql`` makes the same bytes of times and statuses.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
from stylobate.date_time import time_of
from stylobate.declarations.indexes import BOOLEAN, NUMBER, TIME

MISSING = b"\x00"
PRESENT = b"\x01"
"""Below every value, above what is missing."""
BEYOND = b"\xff"
"""Above everything a field can be."""
_NEGATIVE, _ZERO, _POSITIVE = b"\x01", b"\x02", b"\x03"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_COMPLEMENT = bytes(255 - byte for byte in range(256))
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_text = msgspec.json.Decoder(str).decode

Value = str | Decimal | bool | datetime
"""What a field can hold."""


def encode(value: Value | None) -> bytes:
    """Return the bytes of a field."""
    if value is None:
        return MISSING
    if isinstance(value, str):
        return PRESENT + value.encode() + b"\x00"
    if isinstance(value, bool):
        return b"\x02" if value else b"\x01"
    if isinstance(value, datetime):
        return PRESENT + ((value - _EPOCH) // _MICROSECOND + 2**63).to_bytes(8, "big")
    return _number(value)


def successor(prefix: bytes) -> bytes:
    """Return the lowest bytes above everything that begins with the prefix."""
    cut = prefix.rstrip(BEYOND)
    return cut[:-1] + bytes((cut[-1] + 1,)) if cut else BEYOND * (len(prefix) + 1)


def members(data: bytes, paths: Sequence[Sequence[str]]) -> list[bytes]:
    """Return the JSON texts at paths of members, in their order; empty where there is none."""
    return [_member(data, path) for path in paths]


def value_of(kind: str, raw: bytes) -> Value | None:
    """Return the value of a JSON text as a field of that kind holds it; None where it is of another one, or empty."""
    first = raw[:1]
    if first == b'"':
        text = _text(raw)
        return time_of(text) if kind == TIME else text if kind not in {BOOLEAN, NUMBER} else None
    if first in {b"t", b"f"}:
        return first == b"t" if kind == BOOLEAN else None
    return Decimal(raw.decode()) if kind == NUMBER and first and first in b"-0123456789" else None


def _member(data: bytes, path: Sequence[str]) -> bytes:
    found = data
    for name in path:
        found = found.strip()
        if found[:1] != b"{":
            return b""
        found = bytes(_members(found).get(name, b""))
    return found.strip()


def _number(value: Decimal) -> bytes:
    sign, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    if not text or not isinstance(exponent, int):
        return _ZERO
    magnitude = len(text) + exponent  # the value is 0.<text> times ten to the power of this
    pairs = text.rstrip("0")
    pairs += "0" * (len(pairs) % 2)
    encoded = (
        (magnitude + 2**31).to_bytes(4, "big")
        + bytes(int(a + b) + 1 for a, b in zip(pairs[::2], pairs[1::2], strict=True))
        + b"\x00"
    )
    return _NEGATIVE + encoded.translate(_COMPLEMENT) if sign else _POSITIVE + encoded
