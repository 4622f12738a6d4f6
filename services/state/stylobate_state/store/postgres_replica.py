"""Lists from a replica, for who can do with objects that are a moment old."""

from contextlib import suppress

import asyncpg
from stylobate.database import DatabaseManager
from stylobate.errors import DatabaseUnavailableError


async def listed(database: DatabaseManager, statement: str, *args: object, may_lag: bool) -> list[asyncpg.Record]:
    """Return the rows, from the replica where they may lag and it answers, else from the database."""
    if may_lag:
        with suppress(DatabaseUnavailableError):
            return await database.reader.fetch(statement, *args)
    return await database.fetch(statement, *args)
