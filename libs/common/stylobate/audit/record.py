"""One line of the audit trail."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from stylobate.identity.principal import DEFAULT_TENANT
from stylobate.ids import new_id


class Outcome(StrEnum):
    """How it ended."""

    SUCCESS = "success"
    DENIED = "denied"
    """Refused: not allowed, limited, banned."""
    FAILURE = "failure"


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class AuditRecord:
    """Who did what to what, and how it ended. Never holds tokens, passwords or payloads.

    Not frozen: that would make one three times as dear, and there is one for each call of an action.
    """

    action: str
    """What was done, such as ``auth.login`` or the name of an action."""
    outcome: Outcome = Outcome.SUCCESS
    actor: str = ""
    """The principal's id; empty for an unknown caller."""
    tenant: str = DEFAULT_TENANT
    via: str = ""
    """The service that made the call for the actor; empty when a client called directly."""
    target: str = ""
    """What it was done to, such as ``user:<id>``."""
    reason: str = ""
    """The error's reason where it was denied or failed."""
    request_id: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """More, as JSON can hold it."""
    id: str = field(default_factory=new_id)
    time: datetime = field(default_factory=_now)

    def row(self) -> dict[str, Any]:
        """Return it as a dictionary, which is written as JSON at a quarter of the price."""
        return {
            "action": self.action,
            "outcome": str(self.outcome),
            "actor": self.actor,
            "tenant": self.tenant,
            "via": self.via,
            "target": self.target,
            "reason": self.reason,
            "request_id": self.request_id,
            "detail": self.detail,
            "id": self.id,
            "time": self.time,
        }


class AuditFact(NamedTuple):
    """What a record is made of, at the price of a tuple: of what happens all the time, and is written a moment later."""

    action: str
    outcome: Outcome
    actor: str
    tenant: str
    via: str
    reason: str
    request_id: str
    at: float
    """Unix seconds."""

    def record(self) -> AuditRecord:
        """Return the record. It has an id of its own each time."""
        action, outcome, actor, tenant, via, reason, request_id, at = self
        time = datetime.fromtimestamp(at, UTC)
        return AuditRecord(action, outcome, actor, tenant, via, "", reason, request_id, {}, new_id(), time)


def made_storable(record: AuditRecord) -> AuditRecord:
    """Return a record that every store can keep, whatever is in this one.

    A foreign object goes in as its text, a NUL and half a surrogate pair as U+FFFD and ``?``.
    """
    return replace(record, **{name: _storable(getattr(record, name)) for name in AuditRecord.__dataclass_fields__})


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    if isinstance(value, Mapping):
        return {_storable(str(key)): _storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_storable(item) for item in value]
    if value is None or isinstance(value, (bool, float, datetime)) or (isinstance(value, int) and abs(value) < 1 << 63):
        return value
    return _storable(str(value))
