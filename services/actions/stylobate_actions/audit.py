"""What is written down about calls of actions."""

from collections.abc import Awaitable
from time import time
from typing import Any

from stylobate.audit import AuditFact, AuditTrail, Outcome
from stylobate.errors import StylobateError
from stylobate.rpc.call import Call

_DENIED = frozenset({"PERMISSION_DENIED", "UNAUTHENTICATED", "RATE_LIMITED", "BANNED"})


class ActionTrail:
    """Notes action calls in the audit trail; written in batches, within a second."""

    def __init__(self, trail: AuditTrail[Any]) -> None:
        self._trail = trail

    def note(self, action: str, caller: Call, error: StylobateError | None) -> Awaitable[None] | None:
        """Note a call: who, through which service, which action, how it ended. Inputs and outputs are not kept.

        Returns None, or, while the queue is full, what to await until it has room.
        """
        principal = caller.principal
        outcome, reason = Outcome.SUCCESS, ""
        if error is not None:
            reason = error.reason
            outcome = Outcome.DENIED if reason in _DENIED else Outcome.FAILURE
        subject, tenant, via = principal.subject, principal.tenant, principal.via
        fact = AuditFact(action, outcome, subject, tenant, via, reason, caller.request_id, time())
        return None if self._trail.leave(fact) else self._trail.note(fact)
