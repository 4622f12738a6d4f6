"""One call of an action, and the action that it is for, with what both need looked up once."""

from typing import NamedTuple

from stylobate.errors import UnsupportedMediaTypeError
from stylobate.idempotency import IdempotencyKeyRefusedError, check_key
from stylobate.modules.binding import BoundAction
from stylobate.modules.payload import JSON
from stylobate.rpc.call import Call
from stylobate.telemetry import is_sampled, spreads

from stylobate_actions.store.port import RunKey

_RUN = "run"
"""Whose the keys of steps are; callers have a slash in theirs."""
_OK = "OK"
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class ActionEntry:
    """An action with what a call of it needs, looked up once."""

    def __init__(self, action: BoundAction) -> None:
        self.action = action
        self.timeout_s = action.declaration.timeout.total_seconds()
        self.module = action.declaration.module
        self._seconds = spreads(
            "actions_seconds", "Time of action calls by outcome, in seconds.", ("action", "outcome"), _BUCKETS
        )
        self._series = {"": self._seconds.of(action.name, _OK)}

    def observe(self, seconds: float, reason: str, traceparent: str) -> None:
        """Count a call. Reasons are those of error classes, so they are few.

        :param traceparent: of the call; the bucket names it where it is sampled.
        """
        series = self._series.get(reason)
        if series is None:
            series = self._series[reason] = self._seconds.of(self.action.name, reason)
        series.observe(seconds)
        if is_sampled(traceparent):
            series.exemplify(seconds, traceparent)


class ActionRequest(NamedTuple):
    """A call as it came."""

    entry: ActionEntry
    payload: bytes
    content_type: str
    caller: Call
    depth: int
    started: float
    charged: str
    """The limit, as declared, that was charged on the way here."""
    key: str
    """The caller's idempotency key, or empty."""
    step: str
    """The key that the run of another action made in place of one, or empty."""

    def run(self) -> tuple[RunKey, bytes]:
        """Return whose run it is, and what must be the same each time. Raises InvalidInputError."""
        principal, name = self.caller.principal, self.entry.action.name
        if self.step:  # what a run that is begun anew sends on may be newer: the answer is that of the first time
            return RunKey(principal.tenant, _RUN, name, self.step), b""
        check_key(self.key)
        return RunKey(principal.tenant, f"{principal.via}/{principal.subject}", name, self.key), self.payload

    def may_be_kept(self) -> bool:
        """Return whether the answer to a call with a key may be kept; a run calls what keeps none as if it had none.

        :raises IdempotencyKeyRefusedError: a caller relies on it, and it may not.
        """
        takes_keys = self.entry.action.declaration.takes_keys
        if self.key and not takes_keys:
            raise IdempotencyKeyRefusedError(metadata={"action": self.entry.action.name})
        return takes_keys

    def bounded(self) -> Call:
        """Return the caller's call for the action's module, with the nearer of both deadlines."""
        deadline = self.started + self.entry.timeout_s
        if 0 < self.caller.deadline <= deadline:
            deadline = self.caller.deadline
        return self.caller.running(self.entry.module, deadline)

    def check_content_type(self) -> None:
        """Raise UnsupportedMediaTypeError for anything but JSON."""
        if self.content_type.partition(";")[0].strip().lower() not in {JSON, ""}:
            raise UnsupportedMediaTypeError("Actions take application/json.", metadata={"content_type": self.content_type[:100]})
