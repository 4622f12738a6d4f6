"""Types of Python in annotations: what the schema lets in can be written out again, and what cannot is refused when loading."""

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import pathlib
import re
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest
from stylobate.declarations import CompiledSchema
from stylobate.modules.payload import decode, encode
from stylobate.modules.shapes import shape_of

ID = "0190f6a0-0000-7000-8000-000000000001"


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: int
    y: decimal.Decimal


class Row(TypedDict):
    price: decimal.Decimal
    after: dt.timedelta


class Packed(msgspec.Struct):
    price: decimal.Decimal
    days: set[dt.date]


@dataclasses.dataclass
class Line:
    price: decimal.Decimal
    after: dt.timedelta
    colours: set[Colour]


class Model(pydantic.BaseModel):
    line: Line
    named: Annotated[int, pydantic.Field(alias="the name")]


Halved = Annotated[decimal.Decimal, pydantic.PlainSerializer(float, return_type=float)]

TYPES: list[tuple[Any, Any]] = [
    (bool, True),
    (int, 2**64 - 1),
    (int, -(2**63)),
    (float, 1.5),
    (str, "text"),
    (decimal.Decimal, "1.50"),
    (fractions.Fraction, "1/3"),
    (complex, "1+2j"),
    (dt.date, "2030-01-02"),
    (dt.time, "12:30:00"),
    (dt.time, "12:30:00.500000Z"),
    (dt.timedelta, "PT5M"),
    (dt.timedelta, "PT0.5S"),
    (dt.timedelta, "-P1D"),
    (dt.timedelta, "P1Y35D"),
    (uuid.UUID, ID),
    (Colour, "red"),
    (Level, 1),
    (Literal["a", 1], 1),
    (bytes, "text"),
    (pydantic.Base64Bytes, "/w=="),
    (pathlib.Path, "/a/b"),
    (ipaddress.IPv4Address, "192.0.2.1"),
    (ipaddress.IPv6Network, "2001:db8::/32"),
    (re.Pattern[str], "(?P<a>b)"),
    (pydantic.AnyUrl, "http://example.com/a%20b"),
    (list[decimal.Decimal], ["1.0", "2"]),
    (set[int], [1]),
    (frozenset[str], ["a"]),
    (tuple[int, str], [1, "a"]),
    (tuple[decimal.Decimal, ...], ["1.0"]),
    (deque[int], [1, 2]),
    (Sequence[int], [1]),
    (Mapping[str, decimal.Decimal], {"a": "1.0"}),
    (OrderedDict[str, int], {"a": 1}),
    (dict[int, str], {"1": "a"}),
    (dict[uuid.UUID, decimal.Decimal], {ID: "1.0"}),
    (dict[Colour, int], {"red": 1}),
    (dict[dt.date, int], {"2030-01-02": 1}),
    (int | str, "a"),
    (decimal.Decimal | None, None),
    (Point, [1, "1.0"]),
    (Row, {"price": "1.0", "after": "P1D"}),
    (Packed, {"price": "1.0", "days": ["2030-01-02"]}),
    (Line, {"price": "1.0", "after": "PT1M", "colours": ["red"]}),
    (Model, {"line": {"price": "1.0", "after": "PT1M", "colours": ["red"]}, "the name": 1}),
]
PLACES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "alone": (lambda kind: kind, lambda value: value),
    "in a list": (lambda kind: list[kind], lambda value: [value]),
    "in a mapping": (lambda kind: dict[str, kind], lambda value: {"key": value}),
    "in a tuple": (lambda kind: tuple[int, kind], lambda value: [1, value]),
    "in a dataclass": (lambda kind: dataclasses.make_dataclass("Holder", [("held", kind)]), lambda value: {"held": value}),
    "in a model": (lambda kind: pydantic.create_model("Holder", held=(kind, ...)), lambda value: {"held": value}),
}

REFUSED = {(Packed, place) for place in PLACES if place != "alone"} | {(Row, "in a model")}
"""Pydantic's types hold no structs, and before Python 3.12 its models no ``typing.TypedDict``."""


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("kind", "value"), TYPES, ids=[f"{kind} {value}" for kind, value in TYPES])
def test_what_comes_in_goes_out_as_it_came(place: str, kind: Any, value: Any) -> None:
    """By the schema of the input into Python and by the schema of the output out of it: the same JSON, wherever it stands."""
    if (kind, place) in REFUSED:
        pytest.skip("refused where it is written")
    make, wrap = PLACES[place]
    annotation, value = make(kind), wrap(value)
    taken, given = shape_of(annotation), shape_of(annotation, output=True)
    assert taken.schema is not None
    assert given.schema is not None
    assert CompiledSchema(taken.schema).violations(value) == ()
    held = value if taken.convert is None else taken.convert(value)
    out = decode(encode(held if given.dump is None else given.dump(held)))
    assert CompiledSchema(given.schema).violations(out) == ()
    assert out == value


@pytest.mark.parametrize(("kind", "value"), [case for case in TYPES if case[0] not in {Model, pydantic.Base64Bytes}], ids=str)
def test_what_a_handler_holds_can_be_kept_and_published(kind: Any, value: Any) -> None:
    """`ctx.state.put` and `ctx.publish` have no annotation to go by, and write the same."""
    convert = shape_of(kind).convert
    held = value if convert is None else convert(value)
    assert decode(encode({"held": held})) == {"held": value}


def test_moments_keep_their_offset() -> None:
    """A datetime goes out as RFC 3339 in one of its spellings, and is the same moment."""
    for annotation in (dt.datetime, dataclasses.make_dataclass("Holder", [("held", dt.datetime)]), pydantic.AwareDatetime):
        value = {"held": "2030-01-02T03:04:05+02:00"} if dataclasses.is_dataclass(annotation) else "2030-01-02T03:04:05+02:00"
        taken, given = shape_of(annotation), shape_of(annotation, output=True)
        assert taken.convert is not None
        assert given.schema is not None
        assert decode(encode(taken.convert(value))) == value
        assert CompiledSchema(given.schema).violations(value) == ()


def test_an_annotation_that_says_how_to_write_is_followed() -> None:
    """Serializers and aliases of fields hold in dataclasses as in models."""
    holder = dataclasses.make_dataclass("Holder", [("held", Halved), ("named", Annotated[int, pydantic.Field(alias="the name")])])
    shape = shape_of(holder, output=True)
    assert shape.dump is not None
    assert shape.schema is not None
    out = decode(encode(shape.dump(holder(decimal.Decimal("1.5"), 2))))
    assert out == {"held": 1.5, "the name": 2}
    assert CompiledSchema(shape.schema).violations(out) == ()


@pytest.mark.parametrize(
    "kind",
    [object, type, Callable, bytearray, memoryview, range, dt.timezone, pydantic.NaiveDatetime, Packed, re.Match, Exception],
)
@pytest.mark.parametrize("output", [False, True])
def test_what_has_no_form_is_refused_when_loading(kind: Any, *, output: bool) -> None:
    """Inside another type; never found out by a caller."""
    holder = dataclasses.make_dataclass("Holder", [("held", kind)])
    if kind is object:
        assert shape_of(holder, output=output).schema is not None  # anything at all, which is something to say
        return
    with pytest.raises(TypeError, match="has no JSON form"):
        shape_of(holder, output=output)


def test_a_secret_is_taken_and_never_given() -> None:
    """It would go out as asterisks."""
    assert shape_of(pydantic.SecretStr).schema is not None
    with pytest.raises(TypeError, match="never written out"):
        shape_of(pydantic.SecretStr, output=True)
