"""One set of rules for JSON: what is taken, what is refused and where, and that what is taken survives every reader."""

import dataclasses
import json
import math
import sys
from decimal import Decimal
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stylobate.strict_json import (
    MAX_DEPTH,
    MAX_INTEGER,
    MIN_INTEGER,
    JsonMalformedError,
    JsonRefusedError,
    compact_numbers,
    dumps,
    loads,
)

INTEGER = "is an integer beyond 64 bits"
RANGE = "is a number beyond the range of a double"
DIGITS = "is a number with more than 1100 digits in a row"
NUL = "has the character U+0000"
SURROGATE = "has half of a surrogate pair"
DEEP = "is nested deeper than 64 levels"


def nested(depth: int, inner: bytes = b"") -> bytes:
    """Return arrays in arrays."""
    return b"[" * depth + inner + b"]" * depth


@pytest.mark.parametrize(
    "document",
    [
        b"1", b" [1]\n", b"-0", b"1E5", b"1e-5", b"1.5e308", b"1." + b"1" * 400, b"18446744073709551615",
        b"-9223372036854775808", b'"\\\\u0000"', b'"\\ud83d\\ude00"', b'"99999999999999999999999999"',
        b'{"9999999999999999999999":1}',
        b"[9999999999999999999999.5]", b"1e0000000000000000000000005", b"1e-0000000000000000000000005",
        b"[1234567890123456789,9223372036854775808]", b'{"a":1,"a":2}', b'{"":0}', nested(MAX_DEPTH),
        b"[" + b"[]," * 500 + b"[]]",
        b'"' + b"[" * 500 + b'"', b'["\\"[{[{",' * 10 + b"1" + b"]" * 10,
    ],
)  # fmt: skip
def test_a_document_is_read_as_any_reader_reads_it(document: bytes) -> None:
    """The limits themselves are inside, and what only looks like a breach of a rule is none."""
    assert loads(document) == orjson.loads(document) == json.loads(document) == msgspec.json.decode(document)


@pytest.mark.parametrize(
    ("document", "pointer", "detail"),
    [
        (b"18446744073709551616", "", INTEGER),
        (b"-9223372036854775809", "", INTEGER),
        (b'{"a":[1,' + b"9" * 30 + b"]}", "/a/1", INTEGER),
        (b'{"a":[0.' + b"1" * 30 + b"," + b"9" * 30 + b"]}", "/a/1", INTEGER),
        (b"9" * 5000, "", INTEGER),
        (b'{"a":' + b"9" * 30 + b',"a":1}', "", INTEGER),
        (b"1e400", "", RANGE),
        (b'{"a":{"b/c~":-1e400}}', "/a/b~1c~0", RANGE),
        (b"1e" + b"9" * 30, "", RANGE),
        (b"1" * 310 + b".5", "", RANGE),
        (b"0." + b"1" * 1101, "", DIGITS),
        (b"[1e" + b"0" * 1101 + b"]", "/0", DIGITS),
        (b'"a\\u0000b"', "", NUL),
        (b'["\\\\\\u0000"]', "/0", NUL),
        (b'{"x":{"\\u0000":1}}', "/x", NUL),
        (b'{"x":"\\u0000","x":1}', "", NUL),
        (b'"\\ud800"', "", SURROGATE),
        (b'{"a":["\\ude00\\ud800"]}', "/a/0", SURROGATE),
        (b'{"\\udfff":1}', "", SURROGATE),
        (nested(MAX_DEPTH + 1), "", DEEP),
        (nested(MAX_DEPTH, b'{"a":1}'), "", DEEP),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "", DEEP),
        (nested(1000), "", DEEP),
        (nested(200_000), "", DEEP),
        (b"[" * 200_000, "", DEEP),
    ],
)
def test_what_is_json_but_not_carried_is_refused_with_its_place(document: bytes, pointer: str, detail: str) -> None:
    """It is not called malformed: it is valid by RFC 8259, and the finding says where and why it is not taken."""
    with pytest.raises(JsonRefusedError) as refused:
        loads(document)
    assert refused.value.violation.pointer == pointer
    assert refused.value.violation.detail.startswith(detail)


COMMA = 3 if sys.version_info >= (3, 13) else 4
"""Where a comma is one too many: Python 3.13 names it, older ones what follows it."""


@pytest.mark.parametrize(
    ("document", "line", "column"),
    [
        (b"", 1, 1), (b" ", 1, 2), (b"NaN", 1, 1), (b"[-Infinity]", 1, 1), (b"\xef\xbb\xbf1", 1, 1), ("é".encode("utf-16"), 1, 1),
        ('"é"'.encode("utf-16-le"), 1, 3), ('"a"'.encode("utf-32-be"), 1, 1), (b'"\xff"', 1, 2), (b'"\xed\xa0\x80"', 1, 2),
        (b'[1,\n"\xc0\x80"]', 2, 2), (b"01", 1, 2), (b"1.", 1, 2), (b"+1", 1, 1), (b"[1,]", 1, COMMA), (b'"\x00"', 1, 2),
        (b'"a\nb"', 1, 3),
        (b"{'a':1}", 1, 2), (b"1 2", 1, 3), (b"\x001", 1, 1), (b"[1,\n 2,\n x]", 3, 2),
    ],
)  # fmt: skip
def test_what_is_no_json_says_where_it_ceases_to_be(document: bytes, line: int, column: int) -> None:
    """Other encodings and byte order marks are not JSON in UTF-8, nor is what only Python takes."""
    with pytest.raises(JsonMalformedError) as malformed:
        loads(document)
    assert (malformed.value.line, malformed.value.column) == (line, column)


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, {"a": [None, -math.inf]}, "\0", {"\0": 1}, json.loads(nested(MAX_DEPTH + 1))],
)
def test_the_writer_refuses_what_the_reader_would(value: Any) -> None:
    """NaN in particular does not become null."""
    with pytest.raises(JsonRefusedError):
        dumps(value)


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "\ud800", object(), {1: 2}])
def test_what_has_no_json_form_is_a_type_error(value: Any) -> None:
    """As Python's own writer has it."""
    with pytest.raises(TypeError):
        dumps(value)


@dataclasses.dataclass
class Reading:
    """Something measured, perhaps."""

    value: float | None


def test_nan_is_found_wherever_it_hides() -> None:
    """Behind a dataclass and behind what `default` returns; a real null beside it passes."""
    assert dumps([Reading(None), Reading(1.5), None]) == b'[{"value":null},{"value":1.5},null]'
    for value in (Reading(math.nan), {"a": (None, Reading(math.inf))}):
        with pytest.raises(JsonRefusedError):
            dumps(value)

    def plain(value: Any) -> Any:
        return list(value)

    assert dumps({"a": {None}}, plain) == b'{"a":[null]}'
    with pytest.raises(JsonRefusedError):
        dumps({"a": {math.nan}}, plain)


@pytest.mark.parametrize(
    ("written", "compact"),
    [
        ("1" + "0" * 23, "1e23"),
        ("-602214076" + "0" * 15, "-602214076e15"),
        ("18446744073709551615", "18446744073709551615"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("18446744073709551616", "18446744073709551616e0"),
        ('{"1' + "0" * 30 + '": "\\"1' + "0" * 30 + '", "b": [1' + "0" * 30 + ", 0." + "0" * 30 + "1]}",
         '{"1' + "0" * 30 + '": "\\"1' + "0" * 30 + '", "b": [1e30, 0.' + "0" * 30 + "1]}"),
    ],
)  # fmt: skip
def test_numbers_that_postgresql_wrote_out_get_their_exponent_back(written: str, compact: str) -> None:
    """Integers of up to 64 bits stay integers, and nothing inside a string is touched."""
    assert compact_numbers(written.encode()) == compact.encode()


texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))
values = st.recursive(
    st.none() | st.booleans() | st.integers(MIN_INTEGER, MAX_INTEGER) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)


@given(values)
def test_what_is_written_is_read_back(value: Any) -> None:
    """Integers exactly, doubles exactly, and the readers of other languages' kinds agree."""
    document = dumps(value)
    assert loads(document) == value
    assert json.loads(document) == value
    assert msgspec.json.decode(document) == value


@given(st.recursive(
    st.integers() | st.integers(MIN_INTEGER - 2, MAX_INTEGER + 2) | st.floats() | st.text() | st.decimals(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
))  # fmt: skip
def test_a_text_is_taken_unchanged_or_refused(value: Any) -> None:
    """Whatever Python's lax writer makes of it: either every reader sees the same numbers and texts, or it is refused."""
    text = json.dumps(value, default=lambda number: float(number) if number.is_finite() else str(number)).encode()
    try:
        read = loads(text)
    except (JsonMalformedError, JsonRefusedError):
        return
    assert read == json.loads(text)
    assert loads(dumps(read)) == read


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_number_keeps_its_value_when_its_exponent_comes_back(number: Decimal) -> None:
    """Digit for digit, and what comes out is taken again whenever a double can hold it."""
    written = f"{number:f}".encode()
    compact = compact_numbers(written)
    assert Decimal(compact.decode()) == number
    if math.isfinite(float(number)) and len(written) < 1000:
        loads(compact)
