"""PostgreSQL: one pool per service and process, transactions, notifications, migrations.

Faults of the server or the way to it, and what may pass, become :class:`stylobate.errors.DatabaseUnavailableError`; a value
that cannot be kept :class:`stylobate.errors.ValueRefusedError`; what PostgreSQL says about a statement (a constraint) stays
an ``asyncpg`` error, for the store that sent it.
"""

from stylobate.database.connection import Connection
from stylobate.database.manager import DatabaseManager, Limits
from stylobate.database.migrations import MigrationError, MigrationSet, Migrator

__all__ = ["Connection", "DatabaseManager", "Limits", "MigrationError", "MigrationSet", "Migrator"]
