"""Shapes of state objects. Payloads pass as the bytes they came in, so that every number keeps its digits."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Raw, Struct
from pydantic import BaseModel, Field
from stylobate import keys
from stylobate.modules.operations import OlderVersion, parse

from stylobate_gateway.schemas.common import in_path

_KEY = "Printable characters of any script, in Unicode normalization form C; no space at either end."
Namespace = Annotated[str, in_path(r"^[a-z][a-z0-9_-]*$", 128, "orders")]
Key = Annotated[str, in_path(keys.PATTERN, keys.MAX_LENGTH, "01a20883-0000-7000-8000-000000000000", _KEY)]
Event = Annotated[str, in_path(r"^[A-Za-z][A-Za-z0-9_-]*$", 128, "pay")]
_PAYLOAD = {"description": "Any JSON value that the namespace's schema takes"}


class StateTimer(BaseModel):
    """An event that the platform fires by itself if the object stays in its status."""

    event: str
    at: datetime


class StateObject(BaseModel):
    """An object."""

    namespace: str
    key: str
    version: int = Field(ge=1)
    status: str = Field(description="Empty where the namespace has no machine.")
    data: Any = Field(description="Without the fields that you may not see.")
    created_at: datetime
    updated_at: datetime
    owner: str | None = Field(default=None, description="Whose it is. Left out where you may not know, or where it is nobody's.")
    timers: list[StateTimer] | None = Field(default=None, description="Left out where nothing waits.")
    schema_version: int | None = Field(
        default=None, ge=1, description="The version that the data has, where that is not the one that the namespace declares."
    )


class TransactionResult(StateObject):
    """What one operation of a transaction made."""

    deleted: bool = Field(description="Whether the operation deleted the object; its data is null then.")


class TransactionResults(BaseModel):
    """What each operation made."""

    results: list[TransactionResult]


class StateList(BaseModel):
    """A page of objects, in the order of their keys, or of the index that found them."""

    items: list[StateObject]
    next_page_token: str | None = Field(description="null on the last page.")
    count: int = Field(
        default=0,
        ge=0,
        description="Where `count` was asked for: the objects on all pages. When it equals `count` there may be more.",
    )


ChangeName = Literal["created", "updated", "transitioned", "assigned", "deleted", "migrated"]


class HistoryEntry(BaseModel):
    """One version of an object."""

    version: int = Field(ge=1)
    change: ChangeName
    event: str | None
    from_status: str | None = Field(alias="from")
    to_status: str | None = Field(alias="to")
    data: Any = Field(description="Without the fields that you may not see.")
    actor: str = Field(description="Empty where you may not know, or where nobody was known.")
    time: datetime
    event_id: str
    restored_from: int | None = Field(default=None, ge=1, description="The version whose data it brought back; else left out.")
    schema_version: int | None = Field(
        default=None, ge=2, description="The schema version that the data was written under; left out for 1."
    )
    forgotten: Literal[True] | None = Field(default=None, description="Its data is not kept any more; else left out.")
    owner: str | None = Field(
        default=None, description="Whose it is since, of a creation or a hand-over; left out as an object's."
    )
    previous_owner: str | None = Field(default=None, description="Whose it was before a hand-over; likewise.")


class History(BaseModel):
    """A page of versions, newest first."""

    items: list[HistoryEntry]
    next_page_token: str | None = Field(description="null on the last page.")


_OWNER = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": "^[!-9;-~]*$",
    "description": "The id of a user, for who may by the namespace's `assign`.",
}
_STATUS = {"type": ["string", "null"], "description": "Only as it is: a status changes by an event."}
_OLDER = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1, "description": "The version whose data to bring back"}
_GIVEN_OWNER = _OWNER | {"type": ["string", "null"]}
_MERGED = {"description": "Merged into the object's data (RFC 7396)"}


_NEEDED = {"transition": ("event",), "assign": ("owner",), "restore": ("version",)}


def _operation(name: str, **members: Any) -> dict[str, Any]:
    """Return the schema of an operation of a transaction."""
    needed = [member for member in members if member in _NEEDED.get(name, ("data",))]
    properties: dict[str, Any] = {
        "op": {"const": name},
        "namespace": {"type": "string"},
        "key": {"type": "string"},
        "if_version": {"type": ["integer", "null"], "minimum": 0, "description": "It must have; 0: it must not exist yet."},
    }
    return {
        "type": "object",
        "title": f"StateTransaction {name}",
        "required": ["op", "namespace", "key", *needed],
        "additionalProperties": False,
        "properties": properties | members,
    }


DESCRIBED: dict[str, Any] = {
    "StatePut": {
        "type": "object",
        "required": ["data"],
        "additionalProperties": False,
        "properties": {
            "data": _PAYLOAD,
            "status": _STATUS,
            "owner": _GIVEN_OWNER,
        },
    },
    "StateOwner": {
        "type": "object",
        "required": ["owner"],
        "additionalProperties": False,
        "properties": {"owner": _OWNER},
    },
    "StatePatch": {"description": "A JSON merge patch (RFC 7396)"},
    "StateTransaction": {
        "type": "object",
        "required": ["operations"],
        "additionalProperties": False,
        "properties": {
            "operations": {
                "type": "array",
                "minItems": 1,
                "maxItems": 50,
                "items": {
                    "oneOf": [
                        _operation("put", data=_PAYLOAD, status=_STATUS, owner=_GIVEN_OWNER),
                        _operation("patch", data={"description": "A JSON merge patch (RFC 7396)"}),
                        _operation("delete"),
                        _operation("restore", version=_OLDER),
                        _operation("transition", event={"type": "string"}, data=_MERGED),
                        _operation("assign", owner=_OWNER),
                    ],
                    "discriminator": {"propertyName": "op"},
                },
                "description": "On different objects. All of them happen, or none.",
            }
        },
    },
    "StateRestore": {
        "type": "object",
        "required": ["version"],
        "additionalProperties": False,
        "properties": {"version": _OLDER},
    },
    "StateTransition": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"data": _MERGED},
    },
}
"""Bodies that are never read into objects: they pass as they came."""


class PutBody(Struct, forbid_unknown_fields=True):
    """``{data, status?, owner?}``."""

    data: Raw
    status: str | None = None
    owner: str | None = None


class OwnerBody(Struct, forbid_unknown_fields=True):
    """``{owner}``."""

    owner: str


class TransitionBody(Struct, forbid_unknown_fields=True):
    """``{data?}``, merged into the object's data (RFC 7396)."""

    data: Raw = Raw(b"")


class RestoreBody(Struct, forbid_unknown_fields=True):
    """``{version}``."""

    version: OlderVersion


_PUT = msgspec.json.Decoder(PutBody)
_RESTORE = msgspec.json.Decoder(RestoreBody)
_OWNER_BODY = msgspec.json.Decoder(OwnerBody)
_TRANSITION = msgspec.json.Decoder(TransitionBody)


def parse_put(body: bytes) -> PutBody:
    """Return the body of a PUT, which is JSON. Raises InvalidInputError."""
    return parse(_PUT, body)


def parse_restore(body: bytes) -> RestoreBody:
    """Return the body of a restoration, which is JSON. Raises InvalidInputError."""
    return parse(_RESTORE, body)


def parse_owner(body: bytes) -> OwnerBody:
    """Return the body of a hand-over, which is JSON. Raises InvalidInputError."""
    return parse(_OWNER_BODY, body)


def parse_transition(body: bytes) -> TransitionBody:
    """Return the body of a transition, which is JSON or empty. Raises InvalidInputError."""
    return parse(_TRANSITION, body) if body else TransitionBody()
