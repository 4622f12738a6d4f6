"""The audit trail: :class:`AuditTrail` writes :class:`AuditRecord` rows into ``audit_record`` of the service's schema.

The table comes with ``MigrationSet.of("audit", "stylobate.audit")``.
"""

from stylobate.audit.record import AuditRecord, Outcome
from stylobate.audit.trail import AuditTrail

__all__ = ["AuditRecord", "AuditTrail", "Outcome"]
