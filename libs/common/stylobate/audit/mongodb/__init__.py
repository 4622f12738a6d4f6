"""Audit records in MongoDB, and the chain that they are sealed in."""

from stylobate.audit.mongodb.chain import MongoAuditChain
from stylobate.audit.mongodb.store import MongoAuditStore

__all__ = ["MongoAuditChain", "MongoAuditStore"]
