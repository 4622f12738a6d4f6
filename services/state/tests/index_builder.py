"""Builds indexes in a process of its own, to be killed: ``python index_builder.py URL``."""

import asyncio
import sys

from stylobate.database import DatabaseManager
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate_state.store.postgres import PostgresStateStore

AT_ONCE = 10


async def build(url: str) -> None:
    """Build until there is nothing to do."""
    async with DatabaseManager.open(url, service="state") as database:
        store = PostgresStateStore(database, PostgresIdempotencyLedger(database))
        while await store.build(AT_ONCE):
            pass


if __name__ == "__main__":
    asyncio.run(build(sys.argv[1]))
