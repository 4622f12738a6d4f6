"""What the log keeps of a change for watches with filters: the indexed fields of the object as it was, and as it is.

An event tells of the object as it is. Whether a watch with filters followed it before is seen by these fields as they were; and
those that the object itself has (owner, times) stand in no event. They stand aside of events, in the log alone, since a
field may be hidden from those who get events. The function ``state_aside`` of the database does the same.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from stylobate_state.index import MOST_BYTES, IndexedFields
from stylobate_state.index_encoding import members
from stylobate_state.model import StateRecord

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NULL = b"null"


class Aside(msgspec.Struct, frozen=True):
    """Fields by name, as JSON; one that is not there is not known, one without a value is null."""

    was: dict[str, msgspec.Raw] = {}
    """Of what was alive before."""
    now_is: dict[str, msgspec.Raw] = msgspec.field(name="is", default_factory=dict)
    """Those that the object itself has, after the change. Times are microseconds since 1970."""


NOTHING_KNOWN = Aside()
_decode = msgspec.json.Decoder(Aside).decode
_encode = msgspec.json.Encoder().encode


def read_aside(text: bytes) -> Aside:
    """Return what stands aside of an event; nothing is known where nothing does, as with one from an earlier release."""
    return _decode(text) if text else NOTHING_KNOWN


def moment(microseconds: bytes) -> datetime | None:
    """Return a time as it stands aside."""
    return _EPOCH + int(microseconds) * _MICROSECOND if microseconds != _NULL else None


def aside_of(fields: IndexedFields, before: StateRecord | None, after: StateRecord) -> bytes:
    """Return what is to stand aside of an event.

    :param before: what was alive. :param after: the object after the change, or its tombstone.
    """
    was: dict[str, Any] = {}
    if before is not None:
        values = members(before.data, [path for _, *path in fields.paths])
        for (name, *_), raw in zip(fields.paths, values, strict=True):
            value = raw if raw and raw[:1] not in b"{[" else _NULL
            if len(value) <= MOST_BYTES:
                was[name] = msgspec.Raw(value)
        was |= {name: _own(before, name) for name in fields.own}
    now_is = {name: _own(after, name) for name in fields.own}
    return _encode({"was": was, "is": now_is} if now_is else {"was": was})


def _own(state: StateRecord, name: str) -> str | int | None:
    if name == "owner":
        return state.owner or None
    time = state.created_at if name == "created_at" else state.updated_at
    return (time - _EPOCH) // _MICROSECOND
