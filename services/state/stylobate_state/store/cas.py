"""The statement that compares and sets (``cas.sql``) with its arguments: what a batch needs of both and no more.

Parts that have nothing to do cost as much as the rest of a single write: PostgreSQL plans them and sets them up all the same. A
column that has nothing to say costs the driver a look at each of its values.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from operator import attrgetter
from typing import NamedTuple, TypeVar

import msgspec
from stylobate.outbox import partition_of

from stylobate_state.model import Beside, Change, Write

T = TypeVar("T")
_ENTRY = ("entry_write", "entry_index", "entry_trait", "entry_part1", "entry_part2", "entry_part3")
"""The columns of what is entered into indexes."""
_PARTS = (
    "creates", "groups", "indexes", "restores", "migrations", "versions", "assigns", "timers", "origins", "tells", "asides",
)  # fmt: skip
_OFTEN_ALIKE = frozenset(("tenant", "namespace", "owner", "actor", "change", "event", "from_status", "status"))
_encode = msgspec.json.Encoder().encode


class _Statement(NamedTuple):
    text: str
    names: tuple[str, ...]
    """Of its parameters, in their order."""


def cas(writes: Sequence[Write], newest: int, entries: Sequence[Sequence[object]]) -> tuple[str, Sequence[object]]:
    """Return the statement for a batch, and its arguments.

    :param newest: index that the writer knows. :param entries: what the writes enter into indexes, as columns; empty: nothing.
    """
    tells = [_tells(write.beside) for write in writes]
    others: dict[str, object] = {"newest": newest, "tells": tells, **(dict(zip(_ENTRY, entries, strict=True)) if entries else {})}
    changes = {write.change for write in writes}
    parts = {
        "creates": any(write.expected == 0 for write in writes),
        "groups": any(write.group for write in writes),
        "indexes": bool(entries),
        "restores": any(write.restored_from for write in writes),
        "migrations": Change.MIGRATED in changes,
        "versions": any(write.schema_version > 1 for write in writes),
        "assigns": Change.ASSIGNED in changes,
        "timers": any(write.timers for write in writes),
        "origins": any(write.depth or write.traceparent for write in writes),
        "tells": any(tells),
        "asides": any(write.beside is not None and write.beside.aside for write in writes),
    }
    text, names = _statement(frozenset(part for part, is_wanted in parts.items() if is_wanted))
    return text, [_column(name, writes) if name in _COLUMNS else others[name] for name in names]


def _column(name: str, writes: Sequence[Write]) -> Sequence[object]:
    """Return what the writes have for a parameter: one value where that is often alike, and is; nothing where all is null."""
    values = list(map(_COLUMNS[name], writes))
    if name == "data":
        return values if values.count(None) < len(values) else []
    return alike(values) if name in _OFTEN_ALIKE else values


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


def _partition(write: Write) -> int:
    return partition_of(write.key.tenant, write.key.key)


def _data(write: Write) -> str | None:
    return None if write.keeps_data else write.data.decode()


def _starts(write: Write) -> str | None:
    """Return what ``state_timers`` takes."""
    if not write.timers:
        return None
    return _encode([{"event": timer.event, "seconds": timer.after.total_seconds()} for timer in write.timers]).decode()


def _tells(beside: Beside | None) -> str | None:
    """Return what ``state_beside`` takes."""
    if beside is None or not (beside.before or beside.delta or beside.cause):
        return None
    return _encode({"before": beside.before, "delta": beside.delta, "cause": beside.cause}).decode()


def _aside(write: Write) -> str | None:
    """Return what ``state_aside`` takes."""
    return write.beside.aside.text if write.beside is not None and write.beside.aside is not None else None


_COLUMNS: Mapping[str, Callable[[Write], object]] = {
    "tenant": attrgetter("key.tenant"),
    "namespace": attrgetter("key.namespace"),
    "key": attrgetter("key.key"),
    "data": _data,
    "partition": _partition,
    "together": attrgetter("group"),
    "timers": _starts,
    "aside": _aside,
    **{
        name: attrgetter(name)
        for name in (
            "expected", "owner", "status", "actor", "event_id", "change", "event", "from_status", "depth", "traceparent",
            "schema_version", "restored_from",
        )
    },
}  # fmt: skip
"""What of a write each parameter has."""
