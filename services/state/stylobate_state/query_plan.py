"""Which index answers a query, and where in it: only one that leads straight to what is asked for, never a scan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from stylobate.declarations.indexes import MAX_FIELDS, OWN_FIELDS, field_name
from stylobate.declarations.model import IndexField
from stylobate.errors import InvalidInputError, Violation

from stylobate_state.errors import StateQueryNotIndexedError
from stylobate_state.filters import ANYTHING, MOST_VALUES, Condition, Points, Span, refused
from stylobate_state.index import Index
from stylobate_state.index_encoding import encode, successor
from stylobate_state.model import ByteRange


@dataclass(frozen=True, slots=True)
class Sort:
    """What the objects of a list are sorted by."""

    field: IndexField
    is_descending: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """An index and the parts of it that hold what is asked for."""

    index: Index
    ranges: tuple[ByteRange, ...]
    order: IndexField | None = None
    """What the objects are to be sorted by, where the index is not in this order."""


def read_sort(text: str, kinds: Mapping[str, str]) -> Sort | None:
    """Return what ``total`` or ``-total`` says; None for nothing.

    :param kinds: the kind of each field of an index.
    :raises InvalidInputError: neither an index nor every object has the field.
    """
    if not text:
        return None
    name = field_name(text.removeprefix("-"))
    known = {**OWN_FIELDS, **kinds} if kinds else {}
    if name not in known:
        there = f"; there are: {', '.join(sorted(known))}" if known else ""
        raise InvalidInputError(violations=[Violation("/sort", f"no index of the namespace has this field{there}")])
    return Sort(IndexField(name, known[name]), text.startswith("-"))


def plans(namespace: str, indexes: Sequence[Index], conditions: Mapping[str, Condition], sort: Sort | None) -> list[Plan]:
    """Return every plan that answers the query, in the order of the indexes.

    An index answers it where the query fixes its first fields (``eq``, ``in``), has at most a range on the next one, says
    nothing of the others, and is sorted by the first that is not fixed, or by one that is. One over some statuses answers
    queries for exactly these, or for some of them where `status` is one of its fields. Where it answers the filters and is in
    another order, what it finds may still be sorted.

    :raises StateQueryNotIndexedError: there is none.
    """
    found = [plan for index in indexes if (plan := _plan(index, conditions, sort)) is not None]
    if not found and sort is not None and conditions:
        unsorted = (_plan(index, conditions, None) for index in indexes)
        found = [replace(plan, order=sort.field) for plan in unsorted if plan is not None]
    if not found:
        raise StateQueryNotIndexedError(namespace, [*conditions], sort.field.name if sort is not None else "", indexes)
    return found


def wanted_index(conditions: Mapping[str, Condition], sort: Sort) -> tuple[str, ...]:
    """Return the fields of an index that has what the query finds in its order; none where no index could."""
    fields = tuple(dict.fromkeys((*conditions, sort.field.name)))
    is_fixed = all(isinstance(condition, Points) for name, condition in conditions.items() if name != sort.field.name)
    return fields if is_fixed and len(fields) <= MAX_FIELDS else ()


def _plan(index: Index, conditions: Mapping[str, Condition], sort: Sort | None) -> Plan | None:
    left = dict(conditions)
    if index.statuses and not _is_within(index, left):
        return None
    fixed: list[tuple[bytes, ...]] = []
    span, sorted_at = ANYTHING, None
    for field in index.fields:
        if sort is not None and sort.field.name == field.name:
            sorted_at = len(fixed)
        condition = left.pop(field.name, ANYTHING)
        if isinstance(condition, Span):
            span = condition
            break
        fixed.append(condition.values)
    if left or (sort is not None and sorted_at is None):
        return None
    return Plan(index, _ranges(fixed, span, len(fixed) if sorted_at is None else sorted_at))


def _is_within(index: Index, left: dict[str, Condition]) -> bool:
    """Return whether an index over some statuses holds all that is asked for; what it says by itself is taken out."""
    asked = left.get("status")
    held = {encode(status) for status in index.statuses}
    if not isinstance(asked, Points) or not held.issuperset(asked.values):
        return False
    if all(field.name != "status" for field in index.fields):
        del left["status"]
        return held == {*asked.values}
    return True


def _ranges(fixed: Sequence[Sequence[bytes]], span: Span, sorted_at: int) -> tuple[ByteRange, ...]:
    count = 1
    for values in fixed:
        count *= len(values)
    if count > MOST_VALUES:
        raise refused(f"the values of `in` make {count} combinations together, and a query has at most {MOST_VALUES}")
    ranges: list[ByteRange] = []
    for combination in product(*fixed):
        prefix, cut = b"".join(combination), len(b"".join(combination[:sorted_at]))
        high = successor(prefix) if span is ANYTHING and prefix else prefix + span.high
        ranges.append(ByteRange(prefix + span.low if span is not ANYTHING else prefix, high, cut))
    return tuple(ranges)
