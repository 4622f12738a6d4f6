"""Events, partitions, positions and patterns: their forms."""

import json
from datetime import UTC, datetime

import orjson
import pytest
from stylobate.outbox import Event, EventPattern, Position, partition_of
from stylobate.outbox.errors import EventInvalidError, EventPatternInvalidError, PositionInvalidError


def test_json_is_a_cloud_event() -> None:
    """The JSON form has the attributes that CloudEvents 1.0 demands, with the payload as it is."""
    event = Event("i", "state", "state.orders.created", "o1", datetime(2030, 1, 2, 3, 4, 5, 6, UTC), "acme", b'{"n": 1}', "u1")
    assert json.loads(event.json()) == {
        "specversion": "1.0",
        "id": "i",
        "source": "state",
        "type": "state.orders.created",
        "subject": "o1",
        "time": "2030-01-02T03:04:05.000006Z",
        "tenant": "acme",
        "actor": "u1",
        "datacontenttype": "application/json",
        "data": {"n": 1},
    }


def test_json_is_read_back() -> None:
    """An event survives its JSON form, payload bytes included."""
    event = Event.new("state.orders.created", "o1", {"ä": [1, 2.50, None]}, source="state", tenant="acme", actor="u1")
    assert Event.parse(event.json()) == event
    assert event.value() == {"ä": [1, 2.50, None]}


def test_unknown_attributes_are_let_through() -> None:
    """An attribute that a later version adds does not make an event unreadable."""
    event = Event.new("a.b.c", "s", 1, source="a")
    assert Event.parse(orjson.dumps(orjson.loads(event.json()) | {"later": True})) == event


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"specversion":"0.3","id":"1","source":"s","type":"t","subject":"x","time":"2030-01-01T00:00:00Z"}',
        b'{"specversion":"1.0","id":"1","source":"s","type":"t","subject":"x","time":"2030-01-01T00:00:00"}',
        b'{"specversion":"1.0","id":1,"source":"s","type":"t","subject":"x","time":"2030-01-01T00:00:00Z"}',
    ],
)
def test_other_json_is_refused(text: bytes) -> None:
    """What is not a CloudEvent of version 1.0 with a time zone raises the one typed error."""
    with pytest.raises(EventInvalidError):
        Event.parse(text)


def test_partition_is_fixed_for_good() -> None:
    """A subject's partition never changes between releases: events in the tables depend on it."""
    assert [partition_of("default", subject) for subject in ("o1", "o2", "ä", "")] == [13, 7, 3, 8]
    assert {partition_of("default", str(number)) for number in range(500)} == set(range(16))


def test_partition_knows_tenants_apart() -> None:
    """The same subject of two tenants is two subjects, also where the names run together."""
    assert partition_of("a", "bc") != partition_of("ab", "c")


def test_position_text_is_read_back() -> None:
    """A position survives its opaque form."""
    position = Position.origin().advanced({0: 1, 15: 2**62})
    assert Position.parse(str(position)) == position


@pytest.mark.parametrize("text", ["", "1", "2" + ".0" * 16, "1" + ".0" * 15, "1" + ".0" * 17, "1" + ".g" * 16, "1" + ".-1" * 16])
def test_foreign_position_is_refused(text: str) -> None:
    """Text that no log gave out raises the typed error."""
    with pytest.raises(PositionInvalidError):
        Position.parse(text)
    with pytest.raises(PositionInvalidError):
        Position.parse("1" + ".0" * 15 + ".8000000000000000")


@pytest.mark.parametrize(
    ("pattern", "type_", "is_meant"),
    [
        ("state.*.transitioned", "state.orders.transitioned", True),
        ("state.*.transitioned", "state.a.b.transitioned", False),
        ("state.*.transitioned", "state.orders.transitioned.x", False),
        ("state.*.transitioned", "state..transitioned", False),
        ("state.orders.created", "state.orders.created", True),
        ("state.orders.created", "stateXorders.created", False),
        ("state.orders.created", "state.orders.created\n", False),
        ("*.*.*", "a.b.c", True),
    ],
)
def test_pattern(pattern: str, type_: str, is_meant: bool) -> None:
    """`*` stands for exactly one segment; everything else for itself."""
    assert bool(EventPattern.parse(pattern).matches(type_)) is is_meant


@pytest.mark.parametrize("text", ["", ".", "a..b", "a.b*", "a.**", "a b", "a.$", "x" * 256])
def test_odd_pattern_is_refused(text: str) -> None:
    """A pattern that could match nothing, or would mean something to a regular expression, raises the typed error."""
    with pytest.raises(EventPatternInvalidError):
        EventPattern.parse(text)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("state.*.created", "state.orders.*", "state.orders.created"),
        ("*.*.created", "state.orders.*", "state.orders.created"),
        ("state.orders.*", "state.orders.*", "state.orders.*"),
        ("state.notes.*", "state.orders.*", ""),
        ("auth.*", "state.orders.*", ""),
    ],
)
def test_two_patterns_have_a_pattern_of_what_both_mean(one: str, other: str, both: str) -> None:
    """Whichever is asked; empty: no type is of both."""
    patterns = EventPattern.parse(one), EventPattern.parse(other)
    for first, second in (patterns, reversed(patterns)):
        found = first.within(second)
        assert (found.text if found is not None else "") == both
