"""The driver of MongoDB, where no server is there."""

import asyncio
from contextlib import suppress

from stylobate.database.mongodb.manager import client_of
from stylobate.testing.until import until


async def test_who_is_cancelled_twice_while_no_server_is_there_leaves_the_lock_to_others() -> None:
    """A deadline passes and the caller leaves, while another one holds the lock: it stays theirs, and is free afterwards."""
    client = client_of("mongodb://127.0.0.1:1/?replicaSet=rs0", "test")
    asked = asyncio.create_task(client.admin.command("ping"))
    await until(lambda: client._topology is not None and bool(client._topology._condition._waiters))
    lock = client._topology._lock
    async with lock:
        for _ in range(2):
            asked.cancel()
            for _ in range(5):  # turns of the loop, for whoever is cancelled
                await asyncio.sleep(0)
        assert lock.locked()
        assert not asked.done()
    with suppress(asyncio.CancelledError):
        await asked
    assert asked.cancelled()
    await until(lambda: not lock.locked())
    await client.close()
