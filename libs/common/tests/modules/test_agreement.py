"""Schemas and annotations that cannot both be met."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from stylobate.modules.agreement import ASKED, UNREAD, disagreements
from stylobate.modules.shapes import shape_of


@dataclass
class Line:
    """What is ordered."""

    sku: str
    quantity: int = 1


@dataclass
class Order:
    """Lines, perhaps of a parent."""

    lines: list[Line]
    total: float
    note: str | None = None
    parts: list["Order"] = field(default_factory=list)


LINE = {"type": "object", "additionalProperties": False, "required": ["sku"], "properties": {"sku": {"type": "string"}}}


def order(**changed: Any) -> dict[str, Any]:
    """Return the schema of an order that says what the class says."""
    line = LINE | {"properties": {"sku": {"type": "string"}, "quantity": {"type": "integer"}}}
    properties = {
        "lines": {"type": "array", "items": {"$ref": "#/$defs/shop.Line"}},
        "total": {"type": "integer"},
        "note": {"type": "string"},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/shop.Order"}},
    }
    found = {"type": "object", "additionalProperties": False, "required": ["lines"], "properties": properties} | changed
    return {"$ref": "#/$defs/shop.Order", "$defs": {"shop.Order": found, "shop.Line": line}}


def without(name: str, **added: Any) -> dict[str, Any]:
    """Return properties less one."""
    known = order()["$defs"]["shop.Order"]["properties"]
    return {key: value for key, value in known.items() if key != name} | added


@pytest.mark.parametrize(
    ("declared", "given", "returned"),
    [
        (order(), [], []),
        ({}, [], []),
        ({"anyOf": [{"type": "string"}, {"type": "object"}]}, [], []),
        ({"type": "string"}, [("", "string and object")], [("", "object and string")]),
        (order(properties=without("total")), [("/total", ASKED), ("/parts/0/total", ASKED)], [("/total", UNREAD)]),
        (order(properties=without("total"), additionalProperties=True), [], []),
        (order(properties=without("total", sum={})), [("/total", ASKED), ("/sum", UNREAD)], [("/total", UNREAD)]),
        (order(properties=without("note"), required=["no"]), [], [("/no", ASKED), ("/note", UNREAD)]),
        (order(properties=without("lines", lines=LINE)), [("/lines", "object and array")], [("/lines", "array and object")]),
        (
            order(properties=without("lines", lines={"type": "array", "items": {"type": "string"}})),
            [("/lines/0", "string and object")],
            [("/lines/0", "object and string")],
        ),
    ],
)
def test_what_cannot_be_met_is_told_at_its_place(declared, given, returned) -> None:
    """Either way, at any depth, and nothing where it may well be met; schemas that hold themselves come to an end."""
    read = {(found.pointer, found.problem) for found in disagreements(declared, shape_of(Order).schema, is_whole=False)}
    shape = shape_of(Order, output=True).schema
    written = {(found.pointer, found.problem) for found in disagreements(shape, declared, is_whole=True)}
    assert set(given) <= read
    assert set(returned) <= written
    assert (bool(read), bool(written)) == (bool(given), bool(returned))
