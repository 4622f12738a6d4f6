"""A transaction on MongoDB whose end cannot be told to the server, for all connections are in use, holds nobody up for long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta

import pytest
from pymongo.errors import PyMongoError
from stylobate.database.manager import Limits
from stylobate.database.mongodb import MongoManager
from stylobate.errors import DatabaseUnavailableError
from stylobate.testing.mongodb import MongoDatabases
from stylobate.testing.until import until

_SHORT, _LONG = timedelta(seconds=0.3), timedelta(seconds=10)
"""What a transaction may take, and what another that wants the same waits: less than the server keeps what is left lying."""


@asynccontextmanager
async def _all_in_use(database: MongoManager, connections: int) -> AsyncIterator[None]:
    """Keep connections in use: each waits for something to happen in a collection where nothing does."""
    async with AsyncExitStack() as stack:
        waiting = []
        for _ in range(connections):
            stream = await stack.enter_async_context(await database.collection("nothing").watch(max_await_time_ms=60_000))
            waiting.append(asyncio.create_task(stream.next()))
        try:
            yield
        finally:
            for task in waiting:
                task.cancel()
                with suppress(asyncio.CancelledError, PyMongoError, StopAsyncIteration):
                    await task


async def _waiting(other: MongoManager) -> int:
    """Return how many connections wait for that."""
    which = {"op": "getmore", "ns": f"{other.name}.nothing"}
    asked = {"aggregate": 1, "pipeline": [{"$currentOp": {}}, {"$match": which}], "cursor": {}}
    return len((await other.command(asked, on_admin=True))["cursor"]["firstBatch"])


@pytest.mark.parametrize("ends", ["while it commits", "by giving the commit up", "in a statement", "while it is undone"])
async def test_what_is_left_of_a_transaction_is_ended(mongo_databases: MongoDatabases, ends: str) -> None:
    """However it ended on our side, another can write the same soon, and the manager is good for the next transaction."""
    async with (
        mongo_databases.fresh("bank") as url,
        MongoManager.open(url, service="bank", pool_size=1, limits=Limits(_SHORT, _SHORT, _SHORT)) as database,
        MongoManager.open(url, service="bank", limits=Limits(_LONG, _LONG, _LONG)) as other,
    ):
        await other.insert("account", [{"_id": "a", "balance": 10}])
        has_written, goes_on = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            async with database.transaction() as transaction:
                await transaction.update_one("account", {"_id": "a"}, {"$inc": {"balance": -1}})
                has_written.set()
                await goes_on.wait()
                if ends == "in a statement":
                    await transaction.update_one("account", {"_id": "a"}, {"$inc": {"balance": -1}})
                if ends == "while it is undone":
                    raise ZeroDivisionError

        task = asyncio.create_task(work())
        await has_written.wait()
        async with _all_in_use(database, 2):
            await until(lambda: _waiting(other), lambda count: count == 2)
            goes_on.set()
            for _ in range(20):  # until it waits for a connection
                await asyncio.sleep(0)
            if ends != "by giving the commit up":
                task.cancel()
            with pytest.raises((asyncio.CancelledError, DatabaseUnavailableError, ZeroDivisionError)):
                await task
        await other.update_one("account", {"_id": "a"}, {"$set": {"balance": 1}})
        async with database.transaction() as transaction:
            await transaction.update_one("account", {"_id": "a"}, {"$inc": {"balance": 1}})
        assert (await other.find_one("account", {"_id": "a"}) or {})["balance"] == 2
