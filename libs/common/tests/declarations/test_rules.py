"""Access rules, rate limits."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stylobate.declarations import parse_access_rule, parse_rate_limit
from stylobate.declarations.model import AccessRule, RateLimit
from stylobate.declarations.rules import parse_duration


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("public", AccessRule(("public",))),
        ("orders:read or owner", AccessRule(("orders:read", "owner"))),
        ("  owner   or orders:admin ", AccessRule(("owner", "orders:admin"))),
        ("orders:items:read", AccessRule(("orders:items:read",))),
    ],
)
def test_a_rule_is_terms_joined_by_or(text, rule):
    """Any one term is enough, in the order written."""
    assert parse_access_rule(text) == rule


@pytest.mark.parametrize(
    "text", ["", "everyone", "orders:read and owner", "owner or", "or owner", "orders:", ":read", "orders:*", "owner or owner"]
)
def test_other_rules_are_refused(text):
    """A word that is not a term never becomes a rule that happens to let nobody or everybody in."""
    with pytest.raises(ValueError, match=r".+"):
        parse_access_rule(text)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("30/minute", RateLimit(30, timedelta(minutes=1), "window", 0, "30/minute")),
        ("1000/day", RateLimit(1000, timedelta(days=1), "window", 0, "1000/day")),
        ("5000/hour gcra", RateLimit(5000, timedelta(hours=1), "gcra", 0, "5000/hour gcra")),
        ("100/second burst 200", RateLimit(100, timedelta(seconds=1), "gcra", 200, "100/second burst 200")),
    ],
)
def test_a_limit_is_a_number_per_period(text, limit):
    """A plain limit is an exact window; gcra or a burst makes it a gcra."""
    assert parse_rate_limit(text) == limit


@pytest.mark.parametrize(
    "text",
    [
        "",
        "30",
        "30/fortnight",
        "0/minute",
        "-1/minute",
        "1.5/second",
        "1001/minute",
        "5/second burst 0",
        "5/second burst",
        "999999999999/day gcra",
        "1000001/second gcra",
        "1/day burst 36526",
        "1/day burst 2147483647",
    ],
)
def test_other_limits_are_refused(text):
    """No limit of nothing, none beyond what a window can hold exactly, none that overflows a counter."""
    with pytest.raises(ValueError, match=r".+"):
        parse_rate_limit(text)


@given(st.text(max_size=40))
def test_no_text_breaks_the_parsers(text):
    """Any text gives a rule or a ValueError, and a rule prints as one that reads the same."""
    for parse in (parse_access_rule, parse_rate_limit):
        try:
            parsed = parse(text)
        except ValueError:
            continue
        assert parse(str(parsed) if isinstance(parsed, AccessRule) else parsed.text) == parsed


@pytest.mark.parametrize("unit", ["ms", "s", "m", "h"])
@pytest.mark.parametrize("number", ["86400001", "9" * 15, "9" * 400, "9" * 400 + ".5", "1" + "0" * 30])
def test_a_duration_is_bounded(number, unit):
    """What no clock counts up to is refused with a sentence, whichever unit it comes in; a day is not."""
    with pytest.raises(ValueError, match="at most 24h"):
        parse_duration(number + unit)
    assert parse_duration("24h") == parse_duration("1440m") == parse_duration("86400s") == timedelta(days=1)
