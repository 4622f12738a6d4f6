"""State objects and their history as answers."""

from datetime import UTC
from typing import Any

import orjson
from fastapi import Response
from google.protobuf.timestamp_pb2 import Timestamp
from stylobate.api.state.v1 import state_service_pb2 as state


def etag_of(found: state.State) -> str:
    """Return the object's version as an entity tag."""
    return f'"{found.version}"'


def _time(value: Timestamp) -> str:
    return value.ToDatetime(tzinfo=UTC).isoformat().replace("+00:00", "Z")


def object_document(found: state.State) -> dict[str, Any]:
    """Return the object's document."""
    return {
        "namespace": found.namespace,
        "key": found.key,
        "version": found.version,
        "status": found.status,
        "data": orjson.Fragment(found.data),
        "created_at": _time(found.created_at),
        "updated_at": _time(found.updated_at),
    }


def history_document(found: state.HistoryEntry) -> dict[str, Any]:
    """Return the document of one version."""
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
    }


def object_answer(found: state.State) -> Response:
    """Return the answer that an object is."""
    return Response(orjson.dumps(object_document(found)), headers={"etag": etag_of(found)}, media_type="application/json")


def page_answer(items: list[dict[str, Any]], token: str) -> Response:
    """Return the answer that a page is."""
    return Response(orjson.dumps({"items": items, "next_page_token": token or None}), media_type="application/json")
