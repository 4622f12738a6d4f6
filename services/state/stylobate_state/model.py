"""What the state service speaks of: objects, changes to them, what became of a change."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from stylobate.idempotency import Claim

MAX_BYTES = 8 * 1024 * 1024
"""Of the data in one answer: half of the longest message between services."""


class StateKey(NamedTuple):
    """Names an object for all tenants. Sorted by code points, as every store sorts."""

    tenant: str
    namespace: str
    key: str


class Change(StrEnum):
    """What happened to an object at one version; the last segment of its event's type."""

    CREATED = "created"
    UPDATED = "updated"
    TRANSITIONED = "transitioned"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class StateRecord:
    """An object as it stands, or the tombstone that it left."""

    key: StateKey
    version: int
    """From 1, rising by one with each change, deletion included; never restarts."""
    status: str
    """Empty where the namespace declares no machine; for a tombstone the last one."""
    data: bytes
    """JSON; ``null`` for a tombstone."""
    owner: str
    """The subject in whose name it was created; empty for an anonymous one."""
    created_at: datetime
    updated_at: datetime
    first_version: int = 1
    """The version that created it: above 1 when the key was deleted before."""
    is_deleted: bool = False


@dataclass(frozen=True, slots=True)
class Write:
    """One compare-and-set with its event, as a store takes it."""

    key: StateKey
    change: Change
    expected: int | None
    """0: nothing alive may stand there (and the change is CREATED); n: it must be alive at version n; None: alive at any
    version. In the last two cases its owner must be :attr:`owner` still: access was decided on that."""
    owner: str
    """For CREATED the owner to be, else the owner that was seen."""
    status: str | None
    """The status to enter; None keeps the present one."""
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
    claim: Claim | None = None
    """An idempotency key to take; its answer is kept with the write."""

    def as_written(self, written: "Written") -> StateRecord:
        """Return the object as it stands after this write (a tombstone for a deletion)."""
        return StateRecord(
            key=self.key,
            version=written.version,
            status=written.status,
            data=written.data,
            owner=written.owner,
            created_at=written.created_at,
            updated_at=written.updated_at,
            first_version=written.first_version,
            is_deleted=self.change is Change.DELETED,
        )


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Refused:
    """A write whose expectation did not hold; nothing happened."""

    actual: int | None
    """The version that stood there (0: nothing alive); None when another created it at the same moment."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A write whose idempotency key another call holds, or has an answer for; nothing happened."""


WriteOutcome = Written | Refused | Taken


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
