"""The audit trail: :class:`AuditTrail` writes :class:`AuditRecord` into an :class:`AuditStore`.

PostgreSQL's table comes with ``MigrationSet.of("audit", "stylobate.audit")``.
"""

from stylobate.audit.port import AuditStore
from stylobate.audit.query import AuditPage, AuditQuery
from stylobate.audit.record import AuditFact, AuditRecord, Outcome
from stylobate.audit.trail import AuditTrail

__all__ = ["AuditFact", "AuditPage", "AuditQuery", "AuditRecord", "AuditStore", "AuditTrail", "Outcome"]
