"""The statement that compares and sets (``cas.sql``) with its arguments: what a batch needs of both and no more.

Parts that have nothing to do cost as much as the rest of a single write: PostgreSQL plans them and sets them up all the same. A
column that has nothing to say costs the driver a look at each of its values.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from functools import cache, lru_cache
from importlib.resources import files
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
from msgspec.structs import astuple
from stylobate.outbox import partition_of

from stylobate_state.errors import StateDataInvalidError
from stylobate_state.model import Beside, Change, StateKey, StateRecord, TimerStart, Write

T = TypeVar("T")
_ENTRY = ("entry_write", "entry_index", "entry_trait", "entry_part1", "entry_part2", "entry_part3")
"""The columns of what is entered into indexes."""
_PARTS = (
    "creates", "groups", "indexes", "restores", "migrations", "versions", "assigns", "timers", "origins", "tells", "asides",
    "data", "seen", "whole",
)  # fmt: skip
_OFTEN_ALIKE = frozenset(("tenant", "namespace", "owner", "actor", "change", "event", "from_status", "status"))
_TEXTS = frozenset((*_OFTEN_ALIKE, "key"))
"""What is sent as one text, with U+001F between the values, and U+001E for null."""
_BETWEEN, _NULL = "\x1f", "\x1e"
_encode = msgspec.json.Encoder().encode


class _Statement(NamedTuple):
    text: str
    names: tuple[str, ...]
    """Of its parameters, in their order."""


class Cas(NamedTuple):
    """The statement for a batch, and what comes back."""

    text: str
    args: Sequence[object]
    has_data: bool
    """Whether rows have data, of those writes that sent some."""
    is_whole: bool
    """Whether rows have all that a write can know of the object that it was decided on."""


def cas(writes: Sequence[Write], newest: int, entries: Sequence[Sequence[object]]) -> Cas:
    """Return the statement for a batch, and its arguments.

    :param newest: index that the writer knows. :param entries: what the writes enter into indexes, as columns; empty: nothing.
    """
    columns: dict[str, Sequence[Any]] = dict(zip(_FIELDS, zip(*map(_values, writes), strict=True), strict=True))
    columns |= dict(zip(StateKey._fields, zip(*columns["at"], strict=True), strict=True))
    besides = [beside for beside in columns["beside"] if beside is not None]
    change, seen = columns["change"], columns["seen"]
    assigns = Change.ASSIGNED in change
    parts = {
        "creates": 0 in columns["expected"],
        "groups": any(columns["together"]),
        "indexes": bool(entries),
        "restores": any(columns["restored_from"]),
        "migrations": Change.MIGRATED in change,
        "versions": max(columns["schema_version"]) > 1,
        "assigns": assigns,
        "timers": any(columns["timers"]),
        "origins": any(columns["depth"]) or any(columns["traceparent"]),
        "tells": any(map(_tells, besides)),
        "asides": any(beside.aside for beside in besides),
        "data": not all(columns["keeps_data"]),
        "seen": seen.count(None) < len(seen),
        "whole": assigns or None in seen,
    }
    text, names = _statement(frozenset(part for part, is_wanted in parts.items() if is_wanted))
    others = {"newest": newest, **(dict(zip(_ENTRY, entries, strict=True)) if entries else {})}
    args = [others[name] if name in others else _argument(name, columns, writes) for name in names]
    return Cas(text, args, parts["data"], parts["whole"])


def _argument(name: str, columns: Mapping[str, Sequence[Any]], writes: Sequence[Write]) -> object:
    """Return what is sent for a parameter: one value where that is often alike, and is."""
    if name in _TEXTS:
        return _joined(alike(columns[name]) if name in _OFTEN_ALIKE else columns[name])
    if (literals := _LITERALS.get(name)) is not None:
        return f"{{{','.join(literals(columns))}}}"
    if (made := _MADE.get(name)) is not None:
        values = [made(write) for write in writes]
        return alike(values) if name == "starts" else values
    return columns[name]


def _joined(values: Sequence[str | None]) -> str:
    """Return texts as one, which the statement takes apart: the driver looks at each value of an array for half a microsecond."""
    try:
        text = _BETWEEN.join(values)  # type: ignore[arg-type]  # few columns have nulls
    except TypeError:
        text = _BETWEEN.join([_NULL if value is None else value for value in values])
    if text.count(_BETWEEN) >= len(values):
        raise StateDataInvalidError.at("", "cannot be kept: a name has a control character")
    return text


def _versions(columns: Mapping[str, Sequence[int | None]]) -> Iterator[str]:
    return ("NULL" if value is None else str(value) for value in columns["expected"])


def _partitions(columns: Mapping[str, Sequence[str]]) -> Iterator[str]:
    return (_partition(tenant, key) for tenant, key in zip(columns["tenant"], columns["key"], strict=True))


@lru_cache(maxsize=4096)
def _partition(tenant: str, key: str) -> str:
    return str(partition_of(tenant, key))


def _moments(columns: Mapping[str, Sequence[StateRecord | None]]) -> Iterator[str]:
    """Yield the seconds of their last changes: exact to the microsecond as a double, and three times as quick as their text.

    Objects that were written together have one time, which is looked at once.
    """
    last: datetime | None = None
    text = ""
    for seen in columns["seen"]:
        if seen is None:
            yield "NULL"
            continue
        if seen.updated_at is not last:
            last = seen.updated_at
            text = repr(last.timestamp())
        yield text


def alike(values: Sequence[T]) -> Sequence[T]:
    """Return one value where all are equal, else all of them: for columns in which they mostly are.

    The driver looks at every value of an array, for about half a microsecond. The statement says
    ``coalesce(t.column, ($1::text[])[1])``, as ``unnest`` fills what is missing with null; so it is for columns without null.
    """
    return values[:1] if values.count(values[0]) == len(values) else values


@cache
def _statement(wanted: frozenset[str]) -> _Statement:
    """Return the statement with these parts; each names in ``cas.sql`` what it is for."""
    text = (files("stylobate_state.store") / "cas.sql").read_text(encoding="utf-8")
    for part in _PARTS:
        if part in wanted:
            text = re.sub(rf"^[^\n]* -- not {part}\n", "", text, flags=re.MULTILINE)
        else:
            text = re.sub(rf"^-- {part} \{{\n.*?^-- {part} \}}\n|^[^\n]* -- {part}\n", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\s*--.*$", "", text, flags=re.MULTILINE)  # the driver prepares nothing that is longer than 15 KiB
    names = tuple(dict.fromkeys(re.findall(r"\$([a-z_0-9]+)", text)))
    places = {name: f"${place}" for place, name in enumerate(names, start=1)}
    return _Statement(re.sub(r"\$([a-z_0-9]+)", lambda found: places[found[1]], text), names)


def _data(write: Write) -> str | None:
    return None if write.keeps_data else write.data.decode()


def _starts(write: Write) -> str | None:
    """Return the timers that begin."""
    return _starting(write.timers) if write.timers else None


@lru_cache
def _starting(timers: tuple[TimerStart, ...]) -> str:
    return _encode([{"event": timer.event, "seconds": timer.after.total_seconds()} for timer in timers]).decode()


def _tells(beside: Beside) -> bool:
    return bool(beside.before or beside.delta or beside.cause)


def _told(write: Write) -> str | None:
    """Return what ``state_beside`` takes."""
    beside = write.beside
    if beside is None or not _tells(beside):
        return None
    return _encode({"before": beside.before, "delta": beside.delta, "cause": beside.cause}).decode()


def _aside(write: Write) -> str | None:
    """Return what ``state_aside`` takes."""
    return write.beside.aside.text if write.beside is not None and write.beside.aside is not None else None


_NAMES = {"key": "at", "group": "together"}
"""What columns are called that have the name of something else in the statement."""
_FIELDS = tuple(_NAMES.get(field.name, field.name) for field in fields(Write))
_values: Callable[[Write], tuple[Any, ...]] = cast("Any", astuple)
"""Gives all that stands in a write at once: that is what every batch is looked at for."""
_MADE: Mapping[str, Callable[[Write], object]] = {"data": _data, "aside": _aside, "starts": _starts, "tells": _told}
"""What is made of a write, where its batch needs it."""
_LITERALS: Mapping[str, Callable[[Mapping[str, Sequence[Any]]], Iterable[str]]] = {
    "expected": _versions,
    "event_id": itemgetter("event_id"),
    "partition": _partitions,
    "seen": _moments,
}
"""Numbers, ids and times go in the form of an array of PostgreSQL."""
