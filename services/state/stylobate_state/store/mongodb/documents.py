"""Documents of state objects in MongoDB.

``state`` holds one for each object: its key as ``_id``, compared member by member, so that a namespace's keys lie next to each
other in their order. Data is JSON text, as numbers of JSON have more digits than BSON takes; times are microseconds since 1970,
as dates of BSON end at milliseconds.
"""

from collections.abc import Sequence
from typing import Any

from bson import Int64
from bson.max_key import MaxKey
from stylobate.database.mongodb import Document, from_micros, micros

from stylobate_state.model import StateKey, StateRecord, Timer

STATE = "state"
EVENT = "outbox_event"
TIMER = "state_timer"
OBJECT_BYTES = 4096
"""More than all of an object's document, or of an event's, but for the data."""
_BEYOND = MaxKey()


def id_of(key: StateKey) -> dict[str, Any]:
    """Return the ``_id`` of an object."""
    return {"tenant": key.tenant, "namespace": key.namespace, "key": key.key}


def key_of(found: Document) -> StateKey:
    """Return the key that an ``_id`` says."""
    return StateKey(found["tenant"], found["namespace"], found["key"])


def behind(tenant: str, namespace: str, key: str) -> dict[str, Any]:
    """Return the condition on ``_id`` that only keys of the namespace behind this one hold."""
    return {
        "$gt": {"tenant": tenant, "namespace": namespace, "key": key},
        "$lt": {"tenant": tenant, "namespace": namespace, "key": _BEYOND},
    }


def of_later_tenants(tenant: str) -> dict[str, Any]:
    """Return the condition on ``_id`` that only objects of tenants behind this one hold."""
    return {"$gt": {"tenant": tenant, "namespace": _BEYOND}}


def state_of(found: Document) -> StateRecord:
    """Return the object of a document."""
    return StateRecord(
        key=key_of(found["_id"]),
        version=int(found["version"]),
        status=found["status"],
        data=found["data"].encode(),
        owner=found["owner"],
        created_at=from_micros(found["created_at"]),
        updated_at=from_micros(found["updated_at"]),
        first_version=int(found["first_version"]),
        is_deleted=not found["live"],
        timers=timers_of(found["timers"]),
        schema_version=found["schema_version"],
    )


def members_of(state: StateRecord, *, with_data: bool) -> dict[str, Any]:
    """Return what the document of an object has beside its ``_id``.

    :param with_data: else its data stays what it is.
    """
    said: dict[str, Any] = {
        "version": Int64(state.version),
        "status": state.status,
        "owner": state.owner,
        "first_version": Int64(state.first_version),
        "created_at": Int64(micros(state.created_at)),
        "updated_at": Int64(micros(state.updated_at)),
        "live": not state.is_deleted,
        "timers": [timer_of(timer) for timer in state.timers],
        "schema_version": state.schema_version,
    }
    return said | {"data": state.data.decode()} if with_data else said


def timer_of(timer: Timer) -> dict[str, Any]:
    """Return a timer as an object's document has it."""
    return {
        "event": timer.event,
        "at": None if timer.at is None else Int64(micros(timer.at)),
        "since": Int64(timer.since),
    }


def timers_of(found: Sequence[Document]) -> tuple[Timer, ...]:
    """Return the timers of an object's document."""
    return tuple(
        Timer(timer["event"], None if timer["at"] is None else from_micros(timer["at"]), int(timer["since"])) for timer in found
    )


def queued(key: StateKey, timer: Timer) -> dict[str, Any]:
    """Return the ``_id`` of a timer in the queue."""
    return {**id_of(key), "since": Int64(timer.since), "event": timer.event}
