"""State objects and what happens to them, as the HTTP API shows them."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import lru_cache
from typing import Any

import orjson
from google.protobuf.timestamp_pb2 import Timestamp
from stylobate.api.state.v1 import state_service_pb2 as state

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KEPT = 4096


def _time(value: Timestamp) -> str:
    return _text(value.seconds, value.nanos)


@lru_cache(_KEPT)
def _text(seconds: int, nanos: int) -> str:
    """Return a time as RFC 3339 has it: what is read often has the same ones."""
    return (_EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)).isoformat().replace("+00:00", "Z")


def object_document(found: state.State) -> dict[str, Any]:
    """Return the object's document."""
    document = {
        "namespace": found.namespace,
        "key": found.key,
        "version": found.version,
        "status": found.status,
        "data": orjson.Fragment(found.data),
        "created_at": _time(found.created_at),
        "updated_at": _time(found.updated_at),
    }
    if found.owner:
        document["owner"] = found.owner
    if found.timers:
        document["timers"] = [{"event": timer.event, "at": _time(timer.at)} for timer in found.timers]
    if found.schema_version:
        document["schema_version"] = found.schema_version
    return document


def memento_headers(path: bytes, found: state.State) -> dict[str, str]:
    """Return what tells an older version from the object as it is (RFC 9110 §8.7, RFC 7089 §2).

    :param path: of the object, as it was sent.
    """
    original = path.decode("ascii")
    return {
        "content-location": f"{original}?version={found.version}",
        "memento-datetime": format_datetime(found.updated_at.ToDatetime(tzinfo=UTC), usegmt=True),
        "link": f'<{original}>; rel="original"',
    }


def version_document(found: state.HistoryEntry) -> dict[str, Any]:
    """Return the document of one version."""
    whose = {"owner": found.owner, "previous_owner": found.previous_owner}
    return {
        "version": found.version,
        "change": found.change,
        "event": found.event or None,
        "from": found.from_status or None,
        "to": found.to_status or None,
        "data": orjson.Fragment(found.data) if found.data else None,
        "actor": found.actor,
        "time": _time(found.time),
        "event_id": found.event_id,
        **({"restored_from": found.restored_from} if found.restored_from else {}),
        **({"schema_version": found.schema_version} if found.schema_version > 1 else {}),
        **({"forgotten": True} if found.is_forgotten else {}),
        **{name: subject for name, subject in whose.items() if subject},
    }


def change_document(found: state.StateChange) -> dict[str, Any]:
    """Return the document of what happened to an object; of one that is gone nothing but that."""
    place, entry = {"namespace": found.namespace, "key": found.key}, found.entry
    if entry.change == "gone":
        return {**place, "version": entry.version, "change": entry.change}
    return {**place, **version_document(entry)}
