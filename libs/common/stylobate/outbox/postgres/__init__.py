"""Events in PostgreSQL, on the migrations of ``stylobate.outbox``."""

from stylobate.outbox.postgres.log import PostgresEventLog
from stylobate.outbox.postgres.numbering import PostgresNumbering
from stylobate.outbox.postgres.outbox import PostgresOutbox

__all__ = ["PostgresEventLog", "PostgresNumbering", "PostgresOutbox"]
