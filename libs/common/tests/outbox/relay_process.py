"""A relay in a process of its own that stops forever between numbering and publishing: run by test_relay.py, then killed."""

import asyncio
import sys
import time
from datetime import timedelta

from stylobate.database import DatabaseManager
from stylobate.leases import LeaseManager
from stylobate.leases.postgres import PostgresLeaseStore
from stylobate.outbox import Relay
from stylobate.outbox.postgres import PostgresEventLog, PostgresNumbering
from stylobate.redis import RedisManager


def stop() -> None:
    """Say that events were numbered; nothing in this process goes on from here."""
    print("numbered", flush=True)  # noqa: T201  what the test waits for
    time.sleep(600)


async def main(database_url: str, redis_url: str) -> None:
    """Relay until killed."""
    async with DatabaseManager.open(database_url, service="test") as database, RedisManager.open(redis_url) as redis:
        leases = LeaseManager(PostgresLeaseStore(database), "doomed", timedelta(seconds=1))
        await Relay(
            PostgresEventLog(database, "test"), PostgresNumbering(database, "test"), leases, redis, on_numbered=stop
        ).run()


asyncio.run(main(*sys.argv[1:]))
