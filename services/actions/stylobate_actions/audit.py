"""What is written down about calls of actions."""

from typing import Any

from stylobate.audit import AuditRecord, AuditTrail, Outcome
from stylobate.errors import StylobateError
from stylobate.rpc.call import Call

_DENIED = frozenset({"PERMISSION_DENIED", "UNAUTHENTICATED", "RATE_LIMITED", "BANNED"})


class ActionTrail:
    """Notes action calls in the audit trail; written in batches, within a second."""

    def __init__(self, trail: AuditTrail[Any]) -> None:
        self._note = trail.note

    async def note(self, action: str, caller: Call, error: StylobateError | None) -> None:
        """Note a call: who, through which service, which action, how it ended. Inputs and outputs are not kept."""
        principal = caller.principal
        outcome = Outcome.SUCCESS
        if error is not None:
            outcome = Outcome.DENIED if error.reason in _DENIED else Outcome.FAILURE
        await self._note(
            AuditRecord(
                action=action,
                outcome=outcome,
                actor=principal.subject,
                tenant=principal.tenant,
                via=principal.via,
                reason="" if error is None else error.reason,
                request_id=caller.request_id,
            )
        )
