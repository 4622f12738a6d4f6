"""JSON as every part of the platform takes it: one reader, one writer, one set of rules.

A document is one JSON text (RFC 8259) in UTF-8, with the limits of I-JSON (RFC 7493) and of PostgreSQL's ``jsonb``, so that what
one part accepts every other part can read, keep and pass on:

- no byte order mark, no other encoding;
- integers from -2^63 to 2^64-1; other numbers finite as a double, and with at most MAX_DIGITS digits in a row;
- no U+0000 and no half of a surrogate pair, in strings and in the names of members;
- at most MAX_DEPTH levels of arrays and objects.

Of a member that stands twice the last one counts, for every reader alike.
"""

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import orjson

from stylobate.errors import Violation
from stylobate.json_pointer import pointer

MAX_DEPTH = 64
"""Levels of arrays and objects; a plain value has none."""
MAX_DIGITS = 1100
"""Digits in a row. No double needs as many, not even written out in full."""
MIN_INTEGER = -(2**63)
MAX_INTEGER = 2**64 - 1

_DIGITS = bytes(0x30 if chr(byte).isdecimal() else 0x20 for byte in range(128)).ljust(256, b" ")
"""Translates every digit to ``0`` and everything else to a space."""
_LONG = b"0" * 19
"""As many digits as the smallest integer beyond 64 bits has."""
_LONG_SIZE = len(_LONG)
_TOO_LONG = b"0" * (MAX_DIGITS + 1)
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_INTEGER = re.compile(rb"(?<![\d.eE+-])-?\d{19,}(?![\d.eE])")
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|-?\d++(?:[.eE][\d.eE+-]*+)?', re.DOTALL)
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")
_TOO_MANY_DIGITS = f"is a number with more than {MAX_DIGITS} digits in a row"
_TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels"
_BEYOND_INTEGER = "is an integer beyond 64 bits (-2^63 to 2^64-1); send it as a string"
_HAS_NUL = "has the character U+0000, which cannot be kept"


class JsonMalformedError(ValueError):
    """These bytes are not JSON text."""

    def __init__(self, detail: str, *, line: int = 1, column: int = 1) -> None:
        """Take a sentence for a person and where the text ceases to be JSON, both counted from 1."""
        self.detail, self.line, self.column = detail, line, column
        super().__init__(f"{detail} (line {line}, column {column})")


class JsonRefusedError(ValueError):
    """This is JSON, with something in it that the platform does not carry."""

    def __init__(self, pointer: str, detail: str) -> None:
        """Take the place, as a JSON pointer (RFC 6901), and what is wrong there."""
        self.violation = Violation(pointer, detail)
        super().__init__(f"{pointer or 'the document'} {detail}")


def loads(data: bytes) -> Any:
    """Return the value of a document; integers are exact.

    :raises JsonMalformedError: no JSON in UTF-8.
    :raises JsonRefusedError: JSON beyond the rules of this module.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        _explain(data, "has a number or a text that cannot be carried")
    # `in` makes an exception first, to see whether it is given a number
    if len(data) >= _LONG_SIZE and data.translate(_DIGITS).find(_LONG) >= 0:
        _check_numbers(data)
    if data.find(b"\\u0000") >= 0 and _NUL.search(data):
        _explain(data, _HAS_NUL)
    if len(data) > MAX_DEPTH and _is_deep(data):
        _explain(data, _TOO_DEEP)
    return value


def dumps(value: Any, default: Callable[[Any], Any] | None = None) -> bytes:
    """Return the value as a document, compact, that :func:`loads` takes.

    Takes what JSON has, and dataclasses, datetimes (RFC 3339), UUIDs and enums.

    :param default: returns something else to write in the place of what has no JSON form, or raises TypeError.
    :raises TypeError: something in it has no JSON form; integers beyond 64 bits have none.
    :raises JsonRefusedError: NaN, an infinity, U+0000, or more than MAX_DEPTH levels.
    """
    document = orjson.dumps(value, default=default)
    if document.find(b"null") >= 0 and not _is_finite(value, default):  # what it writes for NaN
        raise JsonRefusedError("", "has a number that is not finite")
    if document.find(b"\\u0000") >= 0 and _NUL.search(document):
        _explain(document, _HAS_NUL)
    if len(document) > MAX_DEPTH and _is_deep(document):
        _explain(document, _TOO_DEEP)
    return document


def compact_numbers(document: bytes) -> bytes:
    """Return a document of PostgreSQL's with exponents where they must be: ``jsonb`` writes ``1e23`` as a 1 and 23 zeros.

    So a reader sees a number of the kind that was sent, and what was read can be written again.
    """
    if document.translate(_DIGITS).find(_LONG) < 0:
        return document
    return _TOKEN.sub(_compact, document)


def _compact(token: re.Match[bytes]) -> bytes:
    number = token[0]
    if len(number) < len(_LONG) or not number.removeprefix(b"-").isdigit() or _is_carried(number):
        return number
    digits = number.rstrip(b"0")
    return b"%be%d" % (digits, len(number) - len(digits))


def _is_carried(integer: bytes | str) -> bool:
    """Whether the integer has at most 64 bits. One with many digits is not even computed."""
    return len(integer) <= len(str(MIN_INTEGER)) and MIN_INTEGER <= int(integer) <= MAX_INTEGER


def _is_deep(document: bytes) -> bool:
    """Whether the document, which is JSON, has more than MAX_DEPTH levels: each round takes away the innermost.

    One of no more bytes than that has not.
    """
    if document.count(b"[") + document.count(b"{") <= MAX_DEPTH:
        return False
    brackets = _STRING.sub(b"", document).translate(_BRACKETS, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _check_numbers(document: bytes) -> None:
    """Refuse integers beyond 64 bits and numbers that are too long. Only long runs of digits outside strings are looked at."""
    bare = _STRING.sub(b'""', document)
    runs = bare.translate(_DIGITS) + b" "
    if _TOO_LONG in runs:
        _explain(document, _TOO_MANY_DIGITS)
    at = runs.find(_LONG)
    while at >= 0:
        found = _INTEGER.match(bare, at - 1 if bare[at - 1 : at] == b"-" else at)
        if found is not None and not _is_carried(found[0]):
            _explain(document, _BEYOND_INTEGER)
        at = runs.find(_LONG, runs.find(b" ", at))


def _is_finite(value: Any, default: Callable[[Any], Any] | None) -> bool:
    """Whether every number in the value is."""
    if isinstance(value, float):
        return math.isfinite(value)
    return all(_is_finite(part, default) for part in _parts(value, default))


def _parts(value: Any, default: Callable[[Any], Any] | None) -> Iterable[Any]:
    if value is None or isinstance(value, (str, int)):
        return ()
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, (list, tuple)):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return (getattr(value, field.name) for field in dataclasses.fields(value))
    try:
        return () if default is None else (default(value),)
    except TypeError:
        return ()  # a time, an identifier, an enum: written without asking


# What follows runs for documents that are refused only: it reads them again, slowly, to say where and why.


class _Beyond:
    """Stands for a number that is not carried."""

    __slots__ = ("detail",)

    def __init__(self, detail: str) -> None:
        self.detail = detail


def _explain(document: bytes, otherwise: str) -> NoReturn:
    """Raise what is wrong with the document, at its first place; ``otherwise`` where no place is found for it."""
    try:
        text = document.decode()
    except UnicodeDecodeError as error:
        before = document[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        raise JsonMalformedError("is not UTF-8", line=line, column=column) from None
    if text.startswith("\ufeff"):
        raise JsonMalformedError("begins with a byte order mark")
    try:
        value = json.loads(text, parse_int=_integer, parse_float=_number, parse_constant=_constant)
    except json.JSONDecodeError as error:
        raise JsonMalformedError(error.msg, line=error.lineno, column=error.colno) from None
    except RecursionError:
        raise JsonRefusedError("", _TOO_DEEP) from None
    _find(value, ())
    raise JsonRefusedError("", otherwise)


def _integer(literal: str) -> int | _Beyond:
    return int(literal) if _is_carried(literal) else _Beyond(_BEYOND_INTEGER)


def _number(literal: str) -> float | _Beyond:
    if _TOO_LONG in literal.encode().translate(_DIGITS):
        return _Beyond(_TOO_MANY_DIGITS)
    number = float(literal)
    return number if math.isfinite(number) else _Beyond("is a number beyond the range of a double")


def _constant(name: str) -> NoReturn:
    raise JsonMalformedError(f"{name} is not JSON")


def _find(value: Any, path: tuple[str | int, ...]) -> None:
    """Raise JsonRefusedError for the first thing in it that is not carried."""
    if isinstance(value, _Beyond):
        raise JsonRefusedError(pointer(path), value.detail)
    if isinstance(value, str):
        _find_in_text(value, path)
    elif isinstance(value, (dict, list)):
        if len(path) == MAX_DEPTH:
            raise JsonRefusedError("", _TOO_DEEP)
        for name, member in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(name, str):
                _find_in_text(name, path)
            _find(member, (*path, name))


def _find_in_text(text: str, path: tuple[str | int, ...]) -> None:
    if "\0" in text:
        raise JsonRefusedError(pointer(path), _HAS_NUL)
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise JsonRefusedError(pointer(path), "has half of a surrogate pair, which is not a character")
