"""Filters as callers write them: conditions on fields, by their texts, read by the kind of the field."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from stylobate.date_time import FORM, time_of
from stylobate.declarations.indexes import BOOLEAN, NUMBER, TEXT, TIME, field_name
from stylobate.errors import InvalidInputError, Violation
from stylobate.json_pointer import pointer

from stylobate_state.index import MOST_BYTES
from stylobate_state.index_encoding import BEYOND, MISSING, PRESENT, Value, encode, successor

OPERATORS = ("eq", "in", "lt", "lte", "gt", "gte", "prefix", "exists")
MOST_VALUES = 50
"""Of one ``in``, and of several multiplied: each is a range of its own in the index."""
_LOWER, _UPPER = ("gt", "gte"), ("lt", "lte")
_MOST_FILTERS = 20
_FLAGS = {"true": True, "false": False}
_FORMS = {
    NUMBER: "must be a number, such as 100 or -0.5",
    BOOLEAN: "must be true or false",
    TIME: FORM,
    TEXT: "holds what no text has",
}
_MOST_EXPONENT = 400
_MOST_LENGTH = 1000


class Filter(NamedTuple):
    """A condition as it was sent."""

    field: str
    operator: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Points:
    """A field is one of these, as bytes in their order."""

    values: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """A field lies between these: from the first on, below the second."""

    low: bytes
    high: bytes


Condition = Points | Span
ANYTHING = Span(MISSING, BEYOND)


def read_filters(filters: Sequence[Filter], kinds: Mapping[str, str], statuses: Collection[str] = ()) -> dict[str, Condition]:
    """Return the condition on each field; several are all meant.

    :param kinds: the kind of each field that can be asked for.
    :param statuses: those that the namespace has.
    :raises InvalidInputError: a field or an operator that there is none of, a value of another kind, or a contradiction; each
        with its place, as ``/filter/total/gte``.
    """
    if len(filters) > _MOST_FILTERS:
        raise refused(f"a query has at most {_MOST_FILTERS} filters")
    by_field: dict[str, dict[str, bytes | tuple[bytes, ...]]] = {}
    written: dict[str, str] = {}
    for item in filters:
        name = field_name(item.field)
        if name not in kinds:
            known = f"; there are: {', '.join(sorted(kinds))}" if kinds else ""
            raise refused(f"no index of the namespace has this field{known}", item.field)
        if item.operator not in OPERATORS:
            raise refused(f"is not an operator; there are: {', '.join(OPERATORS)}", item.field, item.operator)
        found = by_field.setdefault(name, {})
        if item.operator in found:
            raise refused("is said twice", item.field, item.operator)
        found[item.operator] = _values(item, kinds[name])
        if name == "status" and item.operator in {"eq", "in"} and not set(statuses).issuperset(item.values):
            raise refused(f"is not a status of the namespace; there are: {', '.join(statuses)}", item.field, item.operator)
        written[name] = item.field
    return {name: _condition(written[name], found) for name, found in by_field.items()}


def refused(detail: str, *place: str) -> InvalidInputError:
    """Return the error for a place in the filters."""
    return InvalidInputError(violations=[Violation(pointer(["filter", *place]), detail)])


def _values(item: Filter, kind: str) -> bytes | tuple[bytes, ...]:
    field, operator, values = item
    if operator != "in" and len(values) != 1:
        raise refused("takes one value", field, operator)
    if operator == "exists":
        if values[0] not in _FLAGS:
            raise refused("must be true or false", field, operator)
        return b"\x01" if _FLAGS[values[0]] else b""
    if operator == "prefix":
        if kind != TEXT:
            raise refused(f"is for texts, and this is a {kind}", field, operator)
        return encode(_value(item, TEXT, values[0]))[:-1]
    if operator != "in":
        return encode(_value(item, kind, values[0]))
    if not 0 < len(values) <= MOST_VALUES:
        raise refused(f"takes 1 to {MOST_VALUES} values", field, operator)
    return tuple(sorted({encode(_value(item, kind, value)) for value in values}))


def _value(item: Filter, kind: str, text: str) -> Value:
    value: Value | None = None
    if kind == TEXT:
        value = text if "\0" not in text and text.isprintable() | (text.encode(errors="ignore").decode() == text) else None
    elif kind == BOOLEAN:
        value = _FLAGS.get(text)
    elif kind == TIME:
        value = time_of(text)
    elif kind == NUMBER and len(text) <= _MOST_LENGTH and text.isascii():
        value = _number(text)
    if value is None:
        raise refused(_FORMS[kind], item.field, item.operator)
    if len(encode(value)) > MOST_BYTES:
        raise refused(f"is longer than the {MOST_BYTES} bytes that an index holds", item.field, item.operator)
    return value


def _number(text: str) -> Decimal | None:
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    is_fine = value.is_finite() and "_" not in text and abs(value.adjusted()) <= _MOST_EXPONENT
    return value if is_fine else None


def _condition(field: str, found: Mapping[str, bytes | tuple[bytes, ...]]) -> Condition:
    """Return what several operators on one field say together."""
    if len(found) > 1 and (others := [name for name in found if name not in {*_LOWER, *_UPPER}]):
        raise refused("stands alone, and there are other conditions on the field", field, others[0])
    for pair in (_LOWER, _UPPER):
        if len(found.keys() & {*pair}) > 1:
            raise refused(f"there is `{pair[0]}` as well; one of them is enough", field, pair[1])
    for operator, value in found.items():
        if isinstance(value, tuple):
            return Points(value)
        if operator == "eq":
            return Points((value,))
        if operator == "exists":
            return Span(PRESENT, BEYOND) if value else Points((MISSING,))
        if operator == "prefix":
            return Span(value, successor(value))
    bounds = {operator: value for operator, value in found.items() if isinstance(value, bytes)}
    low = bounds.get("gte") or (successor(bounds["gt"]) if "gt" in bounds else PRESENT)
    high = bounds.get("lt") or (successor(bounds["lte"]) if "lte" in bounds else BEYOND)
    if low >= high:
        raise refused("contradictory: nothing can be above the one bound and below the other", field)
    return Span(low, high)
