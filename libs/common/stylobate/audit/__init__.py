"""The audit trail: :class:`AuditTrail` writes :class:`AuditRecord` into an :class:`AuditStore`, :class:`AuditSealer` chains them.

PostgreSQL's table comes with ``MigrationSet.of("audit", "stylobate.audit")``.
"""

from stylobate.audit.chain import AuditChain
from stylobate.audit.port import AuditStore
from stylobate.audit.query import AuditPage, AuditQuery
from stylobate.audit.record import AuditFact, AuditRecord, Outcome
from stylobate.audit.sealer import AuditSealer
from stylobate.audit.trail import AuditTrail

__all__ = [
    "AuditChain",
    "AuditFact",
    "AuditPage",
    "AuditQuery",
    "AuditRecord",
    "AuditSealer",
    "AuditStore",
    "AuditTrail",
    "Outcome",
]
