"""JSON Merge Patch, against the standard's own examples and its own algorithm."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stylobate_state.merge import merge_patch

APPENDIX_A = [
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"),
    ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    ('["a","b"]', '["c","d"]', '["c","d"]'),
    ('{"a":"b"}', '["c"]', '["c"]'),
    ('{"a":"foo"}', "null", "null"),
    ('{"a":"foo"}', '"bar"', '"bar"'),
    ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    ("[1,2]", '{"a":"b","c":null}', '{"a":"b"}'),
    ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


def by_the_book(target, patch):
    """Return the result of the pseudo code of RFC 7396 §2."""
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = by_the_book(target.get(name), value)
    return target


@pytest.mark.parametrize(("target", "patch", "result"), APPENDIX_A)
def test_the_standards_examples(target, patch, result):
    """Every case of RFC 7396 appendix A."""
    assert json.loads(merge_patch(target.encode(), patch.encode())) == json.loads(result)


@given(VALUES, VALUES, st.sampled_from([None, 1]))
def test_the_standards_algorithm(target, patch, indent):
    """For any two values, however they are spaced, the result is that of the standard's pseudo code."""
    texts = [json.dumps(value, indent=indent).encode() for value in (target, patch)]
    assert json.loads(merge_patch(*texts)) == by_the_book(target, patch)


@given(VALUES, VALUES)
def test_merging_twice_is_merging_once(target, patch):
    """A patch that arrives again changes nothing more."""
    texts = [json.dumps(value).encode() for value in (target, patch)]
    once = merge_patch(*texts)
    assert json.loads(merge_patch(once, texts[1])) == json.loads(once)


def test_untouched_numbers_keep_every_digit():
    """What a patch does not name is not even parsed into a number, at any depth."""
    target = b'{"a": {"n": 123456789012345678901234567890, "x": 1}, "b": 1.10, "c": 0.12345678901234567890123}'
    merged = merge_patch(target, b'{"a": {"x": 9007199254740993}}')
    for digits in (b"123456789012345678901234567890", b"1.10", b"0.12345678901234567890123", b"9007199254740993"):
        assert digits in merged
