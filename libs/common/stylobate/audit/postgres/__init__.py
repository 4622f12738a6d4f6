"""Audit records in PostgreSQL: many in one statement, and the chain that they are sealed in."""

from stylobate.audit.postgres.chain import PostgresAuditChain
from stylobate.audit.postgres.store import PostgresAuditStore, recorded, recording

__all__ = ["PostgresAuditChain", "PostgresAuditStore", "recorded", "recording"]
