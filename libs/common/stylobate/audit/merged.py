"""Records of several services as one list."""

from collections.abc import Mapping
from datetime import UTC
from typing import Any, NamedTuple

import orjson

from stylobate.api.audit.v1 import audit_service_pb2 as pb
from stylobate.api.audit.v1.audit_service_pb2 import ListRecordsResponse, Record

OUTCOMES = {"success": pb.OUTCOME_SUCCESS, "denied": pb.OUTCOME_DENIED, "failure": pb.OUTCOME_FAILURE}
_TOLD = {outcome: name for name, outcome in OUTCOMES.items()}


class Merged(NamedTuple):
    """Records of several services, the latest first."""

    records: list[tuple[str, Record]]
    """Each with its service."""
    reached: str
    """Down to where everything is told, for all services alike; empty: there is nothing older."""


def merged(pages: Mapping[str, ListRecordsResponse], size: int) -> Merged:
    """Return at most ``size`` records out of a page of each service, all asked for with the same ``before``.

    What one service has told goes only as far down as the one that has told the least: it may have older ones in between.
    """
    horizon = max((page.reached for page in pages.values()), default="")
    found = [(service, record) for service, page in pages.items() for record in page.records if record.position >= horizon]
    found.sort(key=lambda one: one[1].position, reverse=True)
    if len(found) > size:
        found = found[:size]
        horizon = found[-1][1].position
    return Merged(found, horizon)


def told(service: str, record: Record) -> dict[str, Any]:
    """Return a record as clients are told of it; what is empty is None. ``time`` is a datetime."""
    return {
        "id": record.id,
        "time": record.time.ToDatetime(tzinfo=UTC),
        "service": service,
        "actor": record.actor or None,
        "via": record.via or None,
        "action": record.action,
        "target": record.target or None,
        "outcome": _TOLD[record.outcome],
        "reason": record.reason or None,
        "request_id": record.request_id,
        "detail": orjson.loads(record.detail),
    }
