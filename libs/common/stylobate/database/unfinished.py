"""Whether a restore was begun in a database, and did not come to its end: nothing there is whole then."""

import asyncpg

SCHEMA = "stylobate_restore"
"""The mark is a schema of its own, which everybody sees, whatever role they have."""
UNFINISHED = (
    "a restore was begun in this database, and did not come to its end: run `stylobate restore` with that backup again, "
    f"or drop the schema {SCHEMA} and those of the services"
)


async def is_unfinished(connection: asyncpg.Connection) -> bool:
    """Return whether the mark stands in a database."""
    return bool(await connection.fetchval("select exists (select from pg_namespace where nspname = $1)", SCHEMA))
