"""JSON as it comes in: checked once, kept as the text that was sent, so that numbers survive exactly.

What is JSON here says :mod:`stylobate.strict_json`. Beside that, PostgreSQL's ``jsonb`` keeps every number as an exact decimal
and writes ``1e300`` out in full when it is read: how long a document is, is counted with that.
"""

import re
from typing import Any

from stylobate.strict_json import JsonMalformedError, JsonRefusedError, loads

from stylobate_state.errors import StateDataInvalidError

NULL = b"null"
MAX_EXPONENT = 400
"""A double's reaches from -324 to 308."""

_SHAPES = bytes.maketrans(b"123456789E", b"000000000e")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_EXPONENT = re.compile(rb"\d[eE]([+-]?\d+)")
_SPACE = re.compile(rb"[ \t\r\n]+")


def parse_document(data: bytes, max_bytes: int) -> Any:
    """Return the value of a JSON text (RFC 8259); integers are exact, other numbers floats.

    :raises StateDataInvalidError: no JSON, JSON that is not carried, or longer than ``max_bytes``, counted without white space
        and with numbers written out.
    """
    try:
        value = loads(data)
    except JsonMalformedError as error:
        raise StateDataInvalidError.at("", f"is not JSON: {error}") from None
    except JsonRefusedError as error:
        raise StateDataInvalidError([error.violation]) from None
    has_exponents = b"0e" in data.translate(_SHAPES)
    if (has_exponents or len(data) > max_bytes) and _length(data) > max_bytes:
        raise StateDataInvalidError.at("", f"is longer than {max_bytes} bytes")
    return value


def _length(data: bytes) -> int:
    """Return how long the text is without white space and with its numbers written out."""
    bare = _STRING.sub(b'""', data)
    spaces = sum(map(len, _SPACE.findall(bare)))
    exponents = [abs(int(exponent)) for exponent in _EXPONENT.findall(bare)]
    if max(exponents, default=0) > MAX_EXPONENT:
        raise StateDataInvalidError.at("", f"has a number with an exponent beyond {MAX_EXPONENT}")
    return len(data) - spaces + sum(exponents)
