"""JSON as it comes in: checked once, kept as the text that was sent, so that numbers survive exactly.

PostgreSQL's ``jsonb`` keeps every number as an exact decimal but refuses the character U+0000, and writes ``1e300`` out in
full when it is read; both are settled here, before a row is made of it.
"""

import re
from typing import Any

import msgspec
from stylobate.errors import Violation

from stylobate_state.errors import StateDataInvalidError

MAX_DEPTH = 64
"""Levels of arrays and objects."""
NULL = b"null"

_LONG_EXPONENT = re.compile(rb"\d[eE][+-]?\d{2}")
_decode = msgspec.json.Decoder().decode


def parse_document(data: bytes, max_bytes: int) -> Any:
    """Return the value of a JSON text (RFC 8259): integers of any length exact, other numbers as floats.

    :raises StateDataInvalidError: no JSON, larger than ``max_bytes`` (numbers written out), deeper than MAX_DEPTH, with
        U+0000 in a string, or with a number beyond a double's range.
    """
    if len(data) > max_bytes:
        raise StateDataInvalidError.at("", f"is longer than {max_bytes} bytes")
    try:
        value = _decode(data) if _LONG_EXPONENT.search(data) is None else _decode_measured(data, max_bytes)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise StateDataInvalidError.at("", f"is not JSON that can be kept: {error}") from None
    may_be_deep = data.count(b"[") + data.count(b"{") > MAX_DEPTH
    if may_be_deep or b"\\u0000" in data:
        _inspect(value, "", 1)
    return value


def _decode_measured(data: bytes, max_bytes: int) -> Any:
    """Decode while adding up how long the numbers with an exponent are when written out."""
    length = len(data)

    def measure(literal: str) -> float:
        nonlocal length
        exponent = literal.lower().partition("e")[2]
        length += abs(int(exponent or 0))
        if length > max_bytes:
            raise ValueError(f"its numbers, written out, are longer than {max_bytes} bytes")
        return float(literal)

    return msgspec.json.Decoder(float_hook=measure).decode(data)


def _inspect(value: Any, pointer: str, depth: int) -> None:
    """Refuse what is too deep, and U+0000 in names and strings."""
    if isinstance(value, str):
        if "\0" in value:
            raise StateDataInvalidError([Violation(pointer, "has the character U+0000, which cannot be kept")])
        return
    if not isinstance(value, (dict, list)):
        return
    if depth > MAX_DEPTH:
        raise StateDataInvalidError.at("", f"is deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        for name, member in value.items():
            _inspect(name, pointer, depth)
            _inspect(member, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}", depth + 1)
    else:
        for index, member in enumerate(value):
            _inspect(member, f"{pointer}/{index}", depth + 1)
