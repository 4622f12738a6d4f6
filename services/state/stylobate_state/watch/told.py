"""What a watch tells, and where its reader stands."""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec
from stylobate.outbox import LoggedEvent, Position
from stylobate.outbox.errors import PositionInvalidError

from stylobate_state.filters import Filter
from stylobate_state.model import Change, HistoryEntry, StateKey, StateRecord

GONE = "gone"
"""Beside the changes: the object is not followed any more, or may not be seen."""
_TOKEN = re.compile(r"(?P<sight>[aon](?:g[0-9a-f]{8})?(?:[0-9a-f]{8})?)\.(?P<about>[0-9a-f]{8})\.(?P<position>.+)")


@dataclass(frozen=True, slots=True)
class Sight:
    """Which objects somebody may see."""

    is_all: bool = False
    is_owners: bool = False
    """Those that are the caller's."""
    keys: frozenset[str] = frozenset()
    """And those at these keys, which it is granted."""

    @property
    def is_own(self) -> bool:
        """Whether all of them are the caller's."""
        return self.is_owners and not self.keys

    @property
    def mark(self) -> str:
        """What tells it from other sights, in a position."""
        granted = f"g{zlib.crc32(chr(0).join(sorted(self.keys)).encode()):08x}" if self.keys else ""
        return ("a" if self.is_all else "o" if self.is_owners else "n") + granted


ALL = Sight(is_all=True)


class GapReason(StrEnum):
    """Why what was told counts no more."""

    POSITION_EXPIRED = "POSITION_EXPIRED"
    """The log does not reach back so far, or was taken back."""
    RIGHTS_CHANGED = "RIGHTS_CHANGED"
    """More is to be seen, or less."""
    OTHER_WATCH = "OTHER_WATCH"
    """The position is one of another watch."""
    FIELDS_UNKNOWN = "FIELDS_UNKNOWN"
    """A filter asks for something that was not written with a change."""


class ForgottenError(Exception):
    """What is to be told is not kept any more: what was told before counts no more. Never leaves the service."""


class FieldsUnknownError(Exception):
    """What a filter asks for was not written with a change, by an earlier release. Never leaves the service."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A part of how things stand."""

    states: Sequence[StateRecord]
    part: int
    """From 1."""
    is_complete: bool
    """Whether it is the last part."""


@dataclass(frozen=True, slots=True)
class Changed:
    """What happened to an object."""

    key: StateKey
    version: int
    entry: HistoryEntry | None
    """None: it is gone."""


@dataclass(frozen=True, slots=True)
class Gap:
    """What was told counts no more; a snapshot follows."""

    reason: GapReason


Told = tuple[str, Snapshot | Changed | Gap | None]
"""The position to go on from (empty within a snapshot, and behind it until the log has caught up), and what is told there;
None: nothing, it is only a sign of life."""


def about_of(namespace: str, key: str, status: str, filters: Sequence[Filter] = ()) -> str:
    """Return what tells the positions of this watch from those of others."""
    said = chr(0).join((namespace, key, status)).encode()
    if filters:  # one without keeps the positions that it had before there were any
        said += msgspec.json.encode(sorted(filters))
    return f"{zlib.crc32(said):08x}"


@dataclass(frozen=True, slots=True)
class Place:
    """A position with what it was given out for."""

    sight: str
    """Which objects were seen, and what marks the fields that were hidden in them."""
    about: str
    position: Position

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Read the opaque form. Raises PositionInvalidError."""
        found = _TOKEN.fullmatch(text)
        if found is None:
            raise PositionInvalidError
        return cls(found["sight"], found["about"], Position.parse(found["position"]))

    def __str__(self) -> str:
        """Return the opaque form."""
        return f"{self.sight}.{self.about}.{self.position}"


class _Payload(msgspec.Struct):
    """The data of a state event, as far as it is read."""

    namespace: str
    key: str
    version: int
    status: str
    data: msgspec.Raw
    event: str = ""
    restored_from: int = 0
    schema_version: int = 1
    forgotten: bool = False
    from_status: str = msgspec.field(name="from", default="")
    owner: str = ""
    previous_owner: str = ""


_decode = msgspec.json.Decoder(_Payload).decode


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of the log, read."""

    key: StateKey
    entry: HistoryEntry
    aside: bytes = b""
    """As it stands aside of the event."""

    @classmethod
    def of(cls, logged: LoggedEvent) -> "Happened":
        """Read an event of this service."""
        event = logged.event
        found, change = _decode(event.data), event.type.rpartition(".")[2]
        is_deletion = change == Change.DELETED
        from_status = {Change.CREATED: "", Change.TRANSITIONED: found.from_status}.get(Change(change), found.status)
        entry = HistoryEntry(
            version=found.version,
            change=Change(change),
            event=found.event,
            from_status=from_status,
            to_status="" if is_deletion else found.status,
            data=b"" if is_deletion else bytes(found.data),
            actor=event.actor,
            time=event.time,
            event_id=event.id,
            restored_from=found.restored_from,
            schema_version=found.schema_version,
            is_forgotten=found.forgotten,
            owner=found.owner,
            previous_owner=found.previous_owner,
        )
        return cls(StateKey(event.tenant, found.namespace, found.key), entry, event.aside)
