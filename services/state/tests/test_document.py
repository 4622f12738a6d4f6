"""What counts as JSON that can be kept."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stylobate.strict_json import MAX_DEPTH
from stylobate_state.document import parse_document
from stylobate_state.errors import StateDataInvalidError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b"NaN",
        b"Infinity",
        b"1 2",
        b"\xff",
        b'"\xff"',
        b'"\\ud800"',
        b"'a'",
        b"\xef\xbb\xbf1",
        b"01",
        b"{1:2}",
    ],
)
def test_what_is_no_json_is_refused(text):
    """RFC 8259 and nothing beside it."""
    with pytest.raises(StateDataInvalidError):
        parse_document(text, 1000)


@given(JSON)
def test_whatever_json_can_say_is_parsed_as_it_is(value):
    """Any value without U+0000 comes out as it went in, integers of up to 64 bits exactly."""
    text = json.dumps(value).encode()
    if "\\u0000" not in text.decode():
        assert parse_document(text, 100_000) == value


def test_u0000_is_refused_where_it_stands():
    """PostgreSQL's jsonb cannot hold it; the finding points there, and an escaped backslash before u0000 is none."""
    with pytest.raises(StateDataInvalidError) as refused:
        parse_document(b'{"a": ["x", {"b/c": "y\\u0000"}]}', 1000)
    assert refused.value.violations[0].pointer == "/a/1/b~1c"
    with pytest.raises(StateDataInvalidError):
        parse_document(b'{"\\u0000": 1}', 1000)
    assert parse_document(b'"\\\\u0000"', 1000) == "\\u0000"


def test_depth_is_bounded():
    """64 levels are kept, 65 are not, and a hundred thousand do not bring anything down."""
    assert parse_document(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, 1000)
    for depth in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(StateDataInvalidError):
            parse_document(b"[" * depth + b"]" * depth, 1_000_000)
    wide = b"[" + b"[]," * 200 + b"[]]"
    assert len(parse_document(wide, 1000)) == 201


def test_length_is_bounded():
    """The limit is of the text in bytes."""
    assert parse_document(b'"' + b"x" * 98 + b'"', 100)
    with pytest.raises(StateDataInvalidError):
        parse_document(b'"' + b"x" * 99 + b'"', 100)


@pytest.mark.parametrize("text", [b"[1e300,1e300,1e300,1e300]", b"1e-5000", b"1E+1000000", b'{"a": 1e-999}'])
def test_numbers_that_grow_when_written_out_count_as_long_as_that(text):
    """Six bytes of input must not become three hundred of every later answer."""
    with pytest.raises(StateDataInvalidError):
        parse_document(text, 900)


def test_white_space_does_not_count():
    """What PostgreSQL adds between members must not make an object too long to be changed."""
    assert len(parse_document(b"[" + b"0, " * 40 + b"0]\n", 83)) == 41
    with pytest.raises(StateDataInvalidError):
        parse_document(b'["' + b" " * 80 + b'"]', 83)


def test_exponents_are_welcome():
    """Ordinary ones are numbers like any other, and text that looks like one is text."""
    assert parse_document(b"[1e3, 2.5E-10, 1e300]", 1000) == [1e3, 2.5e-10, 1e300]
    assert parse_document(b'"1e999999"', 1000) == "1e999999"
