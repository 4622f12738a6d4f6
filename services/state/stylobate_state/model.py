"""What the state service speaks of: objects, changes to them, what became of a change."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

import msgspec
from stylobate.declarations.model import IndexField
from stylobate.idempotency import Claim
from stylobate.json_members import Path
from stylobate.made_often import made_often

from stylobate_state.index import Index, IndexedFields

MAX_BYTES = 8 * 1024 * 1024
"""Of the data in one answer: half of the longest message between services."""


class StateKey(NamedTuple):
    """Names an object for all tenants. Sorted by code points, as every store sorts."""

    tenant: str
    namespace: str
    key: str


@dataclass(frozen=True, slots=True)
class TimerStart:
    """A timer that begins with a status."""

    event: str
    after: timedelta


@dataclass(frozen=True, slots=True)
class Timer:
    """A timer of an object."""

    event: str
    """What it fires."""
    at: datetime | None
    """When; None: it was spent without effect."""
    since: int
    """The version that set it; with the event it names the timer."""


class Change(StrEnum):
    """What happened to an object at one version; the last segment of its event's type."""

    CREATED = "created"
    UPDATED = "updated"
    TRANSITIONED = "transitioned"
    ASSIGNED = "assigned"
    DELETED = "deleted"
    MIGRATED = "migrated"
    """Its data was brought to the schema version of today; nobody meant to change anything by it."""

    @property
    def stays(self) -> bool:
        """Whether the object stays in its status, and goes on waiting for its timers."""
        return self in _STAYING


_STAYING = frozenset((Change.UPDATED, Change.ASSIGNED, Change.MIGRATED))


@made_often
class StateRecord:
    """An object as it stands, or the tombstone that it left."""

    key: StateKey
    version: int
    """From 1, of an ephemeral namespace from a moment in microseconds; rising by one with each change, deletion included; never
    restarts."""
    status: str
    """Empty where the namespace declares no machine; for a tombstone the last one."""
    data: bytes
    """JSON; ``null`` for a tombstone."""
    owner: str
    """The subject in whose name it was created, or to whom it was handed over; empty for an anonymous one."""
    created_at: datetime
    updated_at: datetime
    first_version: int = 1
    """The version from which on it is its owner's: the one that created it, or that handed it over to another than before."""
    is_deleted: bool = False
    timers: tuple[Timer, ...] = ()
    """Those of its status."""
    schema_version: int = 1
    """That which its data has."""
    is_other_schema: bool = False
    """Whether it is shown with data that is not of the version that its namespace declares."""
    unreadable: tuple[Path, ...] = ()
    """Fields that are stored sealed and cannot be opened; the data lacks them."""
    is_forgotten: bool = False
    """Whether these went with their owner's account."""

    def opened(self, data: bytes, unreadable: tuple[Path, ...], *, is_forgotten: bool) -> "StateRecord":
        """Return it with its fields opened: what ``dataclasses.replace`` does, at a fifth of its cost."""
        return StateRecord(
            self.key,
            self.version,
            self.status,
            data,
            self.owner,
            self.created_at,
            self.updated_at,
            self.first_version,
            self.is_deleted,
            self.timers,
            self.schema_version,
            self.is_other_schema,
            unreadable,
            is_forgotten,
        )


class Origin(msgspec.Struct, frozen=True, omit_defaults=True):
    """What led to a change, as its event may tell. What is empty is left out there."""

    depth: int = 0
    """How many hooks it lies under."""
    via: str = ""
    """The service that asked for it: ``gateway`` for a request over HTTP, ``actions`` for a handler, a hook, or an effect."""
    module: str = ""
    """Whose code asked for it."""
    request_id: str = ""
    """For correlation only: callers choose it."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What an event carries beside what all events do."""

    before: bool = False
    """The object as it was: version, status, data, and the schema version where that is not 1."""
    delta: bool = False
    """The merge patch (RFC 7396) from the data before to the data after, where there is one."""
    cause: Origin | None = None
    aside: IndexedFields | None = None
    """The log keeps their values of before, for watches with filters."""


@made_often
class Write:
    """One compare-and-set with its event, as a store takes it."""

    key: StateKey
    change: Change
    expected: int | None
    """0: nothing alive may stand there (and the change is CREATED); n: it must be alive at version n; None: alive at any
    version. In the last two cases its owner must be :attr:`owner` still: access was decided on that. For ASSIGNED it is n."""
    owner: str
    """For CREATED and ASSIGNED the owner to be, else the owner that was seen."""
    status: str | None
    """The status to enter; None keeps the present one, as UPDATED, ASSIGNED and DELETED do."""
    data: bytes
    """JSON; ``null`` for DELETED."""
    actor: str
    event_id: str
    """UUID, the CloudEvents id."""
    event: str = ""
    """For TRANSITIONED, the event fired."""
    from_status: str = ""
    """For TRANSITIONED, the status left."""
    depth: int = 0
    """How many hooks the change lies under."""
    traceparent: str = ""
    """The trace that it belongs to, where that is sampled."""
    group: int = 0
    """Above 0: one of several writes, next to each other in their batch, that happen together or not at all."""
    claim: Claim | None = None
    """An idempotency key to take; its answer is kept with the write. Of a group the first has it, for all."""
    restored_from: int = 0
    """The version whose data it brings back; 0: none. CREATED undoes a deletion then: of the tombstone of the same owner, which
    goes on with its times and first version."""
    timers: tuple[TimerStart, ...] = ()
    """Those that begin with it; not for what stays in its status, which leaves those that were there. Else these end."""
    schema_version: int = 1
    """That which the data has."""
    beside: Beside | None = None
    """What its event carries beside what all do; None: nothing."""
    keeps_data: bool = False
    """Whether the data is what was read at the expected version: a store need not take it in again."""
    seen: StateRecord | None = None
    """The object that it was decided on, where it holds for that one alone. The time of the last change must be the same, beside
    the version, which may be another's after a failover that lost changes; what the object has else need not be answered."""

    def as_written(self, written: "Written") -> StateRecord:
        """Return the object as it stands after this write (a tombstone for a deletion)."""
        return StateRecord(
            self.key,
            written.version,
            written.status,
            written.data,
            written.owner,
            written.created_at,
            written.updated_at,
            written.first_version,
            self.change is Change.DELETED,
            written.timers,
            self.schema_version,
        )


@dataclass(frozen=True, slots=True)
class Scan:
    """Keys of a namespace in the order of tenants and keys: what stands at some of them."""

    versions: Sequence[tuple[StateKey, int]]
    """Of each living object the schema version that it is stored under."""
    looked: int
    """How many keys were looked at, those of deleted objects included."""
    place: StateKey | None
    """Behind which to go on; None: there is nothing more."""


@made_often
class Written:
    """A write that happened: the object as it stands now."""

    version: int
    status: str
    owner: str
    created_at: datetime
    updated_at: datetime
    first_version: int
    data: bytes
    """As it is read from now on: the store may order members, drop repeated ones and write numbers its own way."""
    timers: tuple[Timer, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """A write whose expectation did not hold; nothing happened."""

    actual: int | None
    """The version that stood there (0: nothing alive); None when another created it at the same moment."""


@dataclass(frozen=True, slots=True)
class Withheld:
    """A write that would have been made, but not so another one of its group; nothing happened."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A write whose idempotency key another call holds, or has an answer for; nothing happened."""


@dataclass(frozen=True, slots=True)
class NotUnique:
    """A write whose values another object has in a unique index; nothing happened."""

    index: Index
    holder: StateKey


@dataclass(frozen=True, slots=True)
class TooLong:
    """A write whose values an index cannot hold; nothing happened."""

    index: Index


WriteOutcome = Written | Refused | Withheld | Taken | NotUnique | TooLong


def grouped(writes: Sequence[Write]) -> list[Sequence[Write]]:
    """Return what of a batch happens together: its groups, and each other write by itself."""
    groups: list[Sequence[Write]] = []
    start = 0
    for end in range(1, len(writes) + 1):
        if end == len(writes) or not writes[start].group or writes[end].group != writes[start].group:
            groups.append(writes[start:end])
            start = end
    return groups


def result_of(group: Sequence[Write], outcomes: Sequence[WriteOutcome]) -> StateRecord | list[StateRecord] | None:
    """Return what a claim's answer is made of: the object; of a group all of them; None where nothing was written."""
    states = [write.as_written(found) for write, found in zip(group, outcomes, strict=True) if isinstance(found, Written)]
    if len(states) < len(group):
        return None
    return states if group[0].group else states[0]


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """What happened to an object at one version."""

    version: int
    change: Change
    event: str
    from_status: str
    to_status: str
    data: bytes
    """The data after, as JSON; empty for a deletion."""
    actor: str
    time: datetime
    event_id: str
    restored_from: int = 0
    """The version whose data it brought back; 0: none."""
    schema_version: int = 1
    """That which the data was written under."""
    is_forgotten: bool = False
    """Whether its data was taken away for good; it is empty then."""
    owner: str = ""
    """For CREATED and ASSIGNED, whose it is since; empty in entries of CREATED from before there was ASSIGNED."""
    previous_owner: str = ""
    """For ASSIGNED, whose it was before."""


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A page of living objects, in the order of their keys."""

    tenant: str
    namespace: str
    limit: int
    max_bytes: int = MAX_BYTES
    """Of the data of all objects together; the first is returned whatever its size."""
    after: str = ""
    """Only keys behind this one."""
    status: str = ""
    """Only this status; empty: all."""
    owner: str | None = None
    """Only this owner's; None: everyone's."""
    may_lag: bool = False
    """Whether a replica may be asked, whose objects may be a moment old."""
    keys: frozenset[str] | None = None
    """What stands at these keys beside the owner's objects, without an owner only that; None: no matter where it stands."""


class ByteRange(NamedTuple):
    """A part of an index: all entries from the first bytes on, below the others."""

    low: bytes
    high: bytes
    cut: int
    """How many bytes at their beginning do not count for the order of what is found."""


@dataclass(frozen=True, slots=True)
class IndexQuery:
    """A page of living objects, in the order of an index; those that are equal in it by key."""

    tenant: str
    index: Index
    ranges: Sequence[ByteRange]
    limit: int
    is_descending: bool = False
    after: tuple[bytes, str] | None = None
    """Only entries behind this one: its place, and its key."""
    owner: str | None = None
    """Only this owner's; None: everyone's."""
    may_lag: bool = False
    """Whether a replica may be asked, whose objects may be a moment old."""
    max_bytes: int = MAX_BYTES
    order: IndexField | None = None
    """What they are sorted by instead of the index, which takes reading all that the ranges hold: at most MOST_SORTED."""
    keys: frozenset[str] | None = None
    """As in ListQuery."""


def is_among(query: ListQuery | IndexQuery, owner: str | None, key: str) -> bool:
    """Return whether an object of this owner, at this key, is one of those that the query is about."""
    if query.keys is None:
        return query.owner in {None, owner}
    return key in query.keys or (query.owner is not None and query.owner == owner)


MOST_SORTED = 1000
"""Objects that a page is sorted out of where no index has them in the order that is asked for."""


@dataclass(frozen=True, slots=True)
class TooMany:
    """A query with an order of its own finds more than MOST_SORTED."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """An object as it was found by an index."""

    state: StateRecord
    place: bytes
    """What to go on behind: the bytes of its entry behind the cut; in an order of its own, those of :func:`place_by`."""

    @property
    def data(self) -> bytes:
        """Its data."""
        return self.state.data


@dataclass(frozen=True, slots=True)
class IndexStanding:
    """How far an index is."""

    index: Index
    is_ready: bool
    """Whether every object is in it and, where it is unique, no two are equal."""
    entered: int = 0
    """Objects looked at so far by its building."""
    problem: str = ""
    """Why it cannot be made ready until somebody changes the data; a sentence."""


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """A page of an object's history, newest first."""

    key: StateKey
    limit: int
    max_bytes: int = MAX_BYTES
    """Of the data of all entries together; the first is returned whatever its size."""
    before: int | None = None
    """Only versions below this one."""
    since: int = 1
    """Only this version and later ones."""
    actor: str = ""
    """Only what this subject did; empty: whoever it was."""
    change: Change | None = None
    """Only what happened in this way; None: everything."""
