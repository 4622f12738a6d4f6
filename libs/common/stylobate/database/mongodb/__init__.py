"""MongoDB: one client per service and process, transactions that wait as row locks do, signals, migrations.

Faults of the server or the way to it, and what may pass, become :class:`stylobate.errors.DatabaseUnavailableError`; a value
that cannot be kept :class:`stylobate.errors.ValueRefusedError`; a key that is there already :class:`DuplicateError`, for the
store that wrote it. What else the driver says of a statement is a defect, and stays its error.
"""

from stylobate.database.mongodb.faults import DuplicateError
from stylobate.database.mongodb.manager import MongoManager
from stylobate.database.mongodb.migrations import MongoMigrator
from stylobate.database.mongodb.statements import Changed, Document, Statements
from stylobate.database.mongodb.times import from_micros, micros
from stylobate.database.mongodb.transaction import MongoTransaction

__all__ = [
    "Changed",
    "Document",
    "DuplicateError",
    "MongoManager",
    "MongoMigrator",
    "MongoTransaction",
    "Statements",
    "from_micros",
    "micros",
]
