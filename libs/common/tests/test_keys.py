"""Keys: what one is, and that every key has exactly one form in the name of a channel."""

import re
import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from stylobate.keys import MAX_LENGTH, PATTERN, from_channel, in_channel, key_fault, unreadable

NFD = unicodedata.normalize("NFD", "é")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("", "1 to 255"),
        ("x" * 256, "1 to 255"),
        ("a/b", "no `/`"),
        (".", "no `/`"),
        ("..", "no `/`"),
        ("a\0b", "printable"),
        ("a\nb", "printable"),
        ("a\tb", "printable"),
        ("\x7f", "printable"),
        ("\x85", "printable"),
        ("a\u00a0b", "printable"),
        ("a\u2003b", "printable"),
        ("\u202eabc", "printable"),
        ("a\u2066b\u2069", "printable"),
        ("a\u200fb", "printable"),
        ("a\u200bb", "printable"),
        ("\ufeffa", "printable"),
        ("a\ud800", "printable"),
        ("a\ue000", "printable"),
        (" ", "space"),
        (" a", "space"),
        ("a ", "space"),
        (NFD, "'é'"),
        ("\u212b", "'Å'"),
        ("a\ufffd", "U+FFFD"),
        ("%41", "percent"),
        ("a%c3%A9", "percent"),
    ],
)
def test_what_is_no_key_is_told_why(key, said):
    """The sentence names what is wrong; of another normal form it says which one is taken."""
    fault = key_fault(key)
    assert fault is not None
    assert said in fault


@pytest.mark.parametrize(
    "key", ["x" * 255, "a b", "ä:1", "018f-…", "user@example.org", "...", "a.b", "50%", "%zz", "é", "日本", "😀", "$1", "#"]
)
def test_anything_else_is_a_key(key):
    """Letters of every script, symbols, spaces inside."""
    assert key_fault(key) is None
    assert re.search(PATTERN, key)


_readable = st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=20)


@given(_readable | st.text(min_size=1, max_size=20))
def test_every_key_has_the_form_that_is_told(key):
    """The pattern in documents leaves no key out: a client that goes by it may send whatever is taken."""
    assume(unreadable(key) is None)
    assert re.search(PATTERN, key)


@pytest.mark.parametrize("key", [" ", "a ", NFD, "\ufffd", "%41"])
def test_old_objects_of_keys_that_are_taken_no_more_can_be_reached(key):
    """They were taken once."""
    assert unreadable(key) is None
    assert key_fault(key) is not None


@pytest.mark.parametrize(
    ("key", "form"),
    [
        ("018f-1", "018f-1"),
        ("a b", "a%20b"),
        ("é", "%C3%A9"),
        ("50%", "50%"),
        ("50% é", "50%%20%C3%A9"),
        ("orders:ü", "orders:%C3%BC"),
        ("a\u2003b", "a%E2%80%83b"),
    ],
)
def test_the_form_in_a_channel(key, form):
    """Printable ASCII stands for itself, everything else is percent-encoded."""
    assert in_channel(key) == form
    assert from_channel(form) == key


@pytest.mark.parametrize("name", ["%41", "%c3%a9", "%FF", "%", "a%2", "%20%41"])
def test_what_is_no_form_of_another_key_is_itself(name):
    """So that nobody asks for one object and hears of another."""
    assert from_channel(name) == name


@given(st.text(min_size=1, max_size=MAX_LENGTH))
def test_each_key_has_a_form_of_its_own_and_gets_back_from_it(key):
    """The form is printable ASCII, the way back leads to the key, and a form is left as it is."""
    assume(key_fault(key) is None)
    form = in_channel(key)
    assert re.fullmatch(r"[\x21-\x7e]+", form)
    assert from_channel(form) == key
    assert in_channel(form) == form


@given(st.text(st.sampled_from("%4aA1 éü"), min_size=1, max_size=6), st.text(st.sampled_from("%4aA1 éü"), min_size=1, max_size=6))
def test_two_keys_never_share_a_form(one, other):
    """Not even keys that are made to collide."""
    assume(key_fault(one) is None)
    assume(key_fault(other) is None)
    assert (in_channel(one) == in_channel(other)) == (one == other)
