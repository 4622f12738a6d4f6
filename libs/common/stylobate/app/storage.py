"""The adapters of one kind of database, for whoever puts a service together.

A service asks :meth:`AppManager.storage` for it and takes its own store by its kind::

    match storage:
        case PostgresStorage():
            store = PostgresBanStore(storage.database, storage.outbox(app.name), …)
        case MongoStorage():
            store = MongoBanStore(storage.database, storage.outbox(app.name), …)
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stylobate.audit.postgres import PostgresAuditChain, PostgresAuditStore
from stylobate.database import DatabaseManager
from stylobate.encryption.postgres import PostgresDataKeyStore
from stylobate.hooks.postgres import PostgresHookStore
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.leases.postgres import PostgresLeaseStore
from stylobate.outbox.postgres import PostgresEventLog, PostgresNumbering, PostgresOutbox

if TYPE_CHECKING:
    from stylobate.audit.mongodb import MongoAuditChain, MongoAuditStore
    from stylobate.database.mongodb import MongoManager
    from stylobate.encryption.mongodb import MongoDataKeyStore
    from stylobate.hooks.mongodb import MongoHookStore
    from stylobate.idempotency.mongodb import MongoIdempotencyLedger
    from stylobate.leases.mongodb import MongoLeaseStore
    from stylobate.outbox.mongodb import MongoEventLog, MongoNumbering, MongoOutbox


@dataclass(frozen=True, slots=True)
class PostgresStorage:
    """PostgreSQL; a transaction is a Connection inside one."""

    database: DatabaseManager

    def outbox(self, source: str) -> PostgresOutbox:
        """Return where events are left."""
        return PostgresOutbox(source)

    def event_log(self, source: str) -> PostgresEventLog:
        """Return their log."""
        return PostgresEventLog(self.database, source)

    def numbering(self, source: str) -> PostgresNumbering:
        """Return what numbers them."""
        return PostgresNumbering(self.database, source)

    def leases(self) -> PostgresLeaseStore:
        """Return where leases are kept."""
        return PostgresLeaseStore(self.database)

    def idempotency(self) -> PostgresIdempotencyLedger:
        """Return where answers are kept."""
        return PostgresIdempotencyLedger(self.database)

    def audit(self) -> PostgresAuditStore:
        """Return where audit records are kept."""
        return PostgresAuditStore(self.database)

    def audit_chain(self, service: str) -> PostgresAuditChain:
        """Return the chain that they are sealed in."""
        return PostgresAuditChain(self.database, service)

    def hooks(self) -> PostgresHookStore:
        """Return how far hooks have come."""
        return PostgresHookStore(self.database)

    def data_keys(self) -> PostgresDataKeyStore:
        """Return where data keys are kept."""
        return PostgresDataKeyStore(self.database)


@dataclass(frozen=True, slots=True)
class MongoStorage:
    """MongoDB; a transaction is a MongoTransaction. Its driver is imported by whoever has one: it takes 11 MB."""

    database: "MongoManager"

    def outbox(self, source: str) -> "MongoOutbox":
        """Return where events are left."""
        from stylobate.outbox.mongodb import MongoOutbox

        return MongoOutbox(source)

    def event_log(self, source: str) -> "MongoEventLog":
        """Return their log."""
        from stylobate.outbox.mongodb import MongoEventLog

        return MongoEventLog(self.database, source)

    def numbering(self, source: str) -> "MongoNumbering":
        """Return what numbers them."""
        from stylobate.outbox.mongodb import MongoNumbering

        return MongoNumbering(self.database, source)

    def leases(self) -> "MongoLeaseStore":
        """Return where leases are kept."""
        from stylobate.leases.mongodb import MongoLeaseStore

        return MongoLeaseStore(self.database)

    def idempotency(self) -> "MongoIdempotencyLedger":
        """Return where answers are kept."""
        from stylobate.idempotency.mongodb import MongoIdempotencyLedger

        return MongoIdempotencyLedger(self.database)

    def audit(self) -> "MongoAuditStore":
        """Return where audit records are kept."""
        from stylobate.audit.mongodb import MongoAuditStore

        return MongoAuditStore(self.database)

    def audit_chain(self, service: str) -> "MongoAuditChain":
        """Return the chain that they are sealed in."""
        from stylobate.audit.mongodb import MongoAuditChain

        return MongoAuditChain(self.database, service)

    def hooks(self) -> "MongoHookStore":
        """Return how far hooks have come."""
        from stylobate.hooks.mongodb import MongoHookStore

        return MongoHookStore(self.database)

    def data_keys(self) -> "MongoDataKeyStore":
        """Return where data keys are kept."""
        from stylobate.encryption.mongodb import MongoDataKeyStore

        return MongoDataKeyStore(self.database)


Storage = PostgresStorage | MongoStorage
