"""The event that tells of a change; ``store/cas.sql`` writes the same."""

from datetime import datetime
from typing import Any

import msgspec
from stylobate.outbox import Event

from stylobate_state.document import NULL
from stylobate_state.merge import delta
from stylobate_state.model import Beside, Change, StateKey, StateRecord, Write
from stylobate_state.operation import ChangeDraft

_encode = msgspec.json.Encoder().encode


def event_of(
    key: StateKey,
    told: Write | ChangeDraft,
    *,
    version: int,
    status: str,
    data: bytes,
    owner: str,
    before: StateRecord | None,
    beside: Beside | None,
    actor: str,
    event_id: str,
    time: datetime,
) -> Event:
    """Return the event of a change that was made, or that is meant.

    :param version: after the change. :param status: likewise. :param data: likewise, as JSON. :param owner: likewise.
    :param before: the object that it was made of; None: nothing was there.
    :param beside: what it carries beside what all do.
    """
    payload: dict[str, Any] = {
        "namespace": key.namespace,
        "key": key.key,
        "version": version,
        "status": status,
        "data": msgspec.Raw(data),
        "actor": actor,
    }
    if told.change is Change.TRANSITIONED:
        payload |= {"event": told.event, "from": told.from_status, "to": status}
    if told.restored_from:
        payload["restored_from"] = told.restored_from
    if isinstance(told, Write) and told.schema_version > 1:
        payload["schema_version"] = told.schema_version
    if told.change in {Change.CREATED, Change.ASSIGNED}:
        payload["owner"] = owner
    if told.change is Change.ASSIGNED and before is not None:
        payload["previous_owner"] = before.owner
    if beside is not None:
        payload |= _beside(beside, before, data)
    type_ = f"state.{key.namespace}.{told.change}"
    depth, traceparent = (told.depth, told.traceparent) if isinstance(told, Write) else (0, "")
    return Event(event_id, "state", type_, key.key, time, key.tenant, _encode(payload), actor, depth, traceparent)


def _beside(beside: Beside, before: StateRecord | None, data: bytes) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if beside.before:
        told["before"] = _as_it_was(before) if before is not None else None
    if beside.delta and (patch := delta(before.data if before is not None else NULL, data)) is not None:
        told["delta"] = msgspec.Raw(patch)
    if beside.cause is not None:
        told["cause"] = beside.cause
    return told


def _as_it_was(state: StateRecord) -> dict[str, Any]:
    whole = {"version": state.version, "status": state.status, "data": msgspec.Raw(state.data)}
    return whole | ({"schema_version": state.schema_version} if state.schema_version > 1 else {})
