"""Builds indexes in a process of its own, to be killed: ``python index_builder.py URL``."""

import asyncio
import sys

from stylobate.database import DatabaseManager
from stylobate.database.address import is_mongodb
from stylobate.database.mongodb import MongoManager
from stylobate.idempotency.mongodb import MongoIdempotencyLedger
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate_state.store.mongodb import MongoStateStore
from stylobate_state.store.port import StateStore
from stylobate_state.store.postgres import PostgresStateStore

AT_ONCE = 10


async def build(url: str) -> None:
    """Build until there is nothing to do."""
    if is_mongodb(url):
        async with MongoManager.open(url, service="state") as documents:
            await _build(MongoStateStore(documents, MongoIdempotencyLedger(documents)))
    else:
        async with DatabaseManager.open(url, service="state") as database:
            await _build(PostgresStateStore(database, PostgresIdempotencyLedger(database)))


async def _build(store: StateStore) -> None:
    while await store.build(AT_ONCE):
        pass


if __name__ == "__main__":
    asyncio.run(build(sys.argv[1]))
