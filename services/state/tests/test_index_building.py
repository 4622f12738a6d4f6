"""Building and removing indexes, with builders that are killed and rivals that are not."""

import asyncio
import json
import sys
from contextlib import AsyncExitStack

from bson import Int64
from stylobate.database import DatabaseManager
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.testing.until import until
from stylobate_state.model import NotUnique, Written
from stylobate_state.store.postgres import PostgresStateStore

from . import index_builder
from .conftest import MIGRATION_SETS
from .test_index_contract import EMAIL, TOTAL, at, built, found, order

COUNT = 100
KEYS = [f"{n:03d}" for n in range(COUNT)]


async def opened(stack, url):
    """Open a store on the database, and the database."""
    database = await stack.enter_async_context(DatabaseManager.open(url, service="state"))
    return PostgresStateStore(database, PostgresIdempotencyLedger(database)), database


async def test_a_builder_that_is_killed_leaves_what_it_did(databases):
    """Killed in the middle of a transaction; two others go on where it was, and every object is entered once."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(databases.fresh("state", *MIGRATION_SETS))
        store, database = await opened(stack, url)
        rival, _ = await opened(stack, url)
        await store.write([order(key, total=-int(key), email=key) for key in KEYS])
        await store.declare([TOTAL])

        async def is_at(entered):
            (standing,) = await store.indexes()
            return standing.entered == entered

        async with database.transaction() as connection:  # the builder comes to this object and waits
            await connection.execute("select from state where key = '055' for update")
            builder = await asyncio.create_subprocess_exec(sys.executable, index_builder.__file__, url)
            try:
                await until(lambda: is_at(50))
                await until(lambda: _waits(database))
            finally:
                builder.kill()
                await builder.wait()
        assert await found(store, TOTAL) is None
        assert await is_at(50)
        await asyncio.gather(*(_built(one) for one in (store, rival)))
        assert await found(store, TOTAL, limit=200) == KEYS[::-1]
        assert await is_at(COUNT)


async def _waits(database):
    return await database.fetchval("select exists (select from pg_locks where not granted)")


async def _built(store):
    while await store.build(index_builder.AT_ONCE):
        pass


async def test_an_index_that_nobody_declares_is_removed(open_kept):
    """With its entries, after a while; declared again it is built anew, and writes go on all the while."""
    kept = await open_kept()
    store = kept.store
    await store.declare([TOTAL, EMAIL])
    await store.write([order(key, total=1, email=key) for key in KEYS])
    if isinstance(kept.database, DatabaseManager):
        await kept.database.execute("update state_index set declared_at = now() - interval '2 minutes'")
    else:
        await kept.database.update_many("state_index", {}, {"$inc": {"declared_at": Int64(-120_000_000)}})
    await store.declare([TOTAL])
    assert await store.build(60)
    assert isinstance((await store.write([order("new", total=0, email="000")]))[0], Written)
    await built(store)
    assert [standing.index for standing in await store.indexes()] == [TOTAL]
    assert await kept.count("state_entry") == COUNT + 1
    assert await found(store, EMAIL) is None
    await store.declare([EMAIL])
    await built(store)
    (_, standing) = await store.indexes()
    assert standing.problem == "orders/new and orders/000 are equal in email, which is unique"


async def test_writers_that_want_values_in_opposite_orders_do_not_wait_in_a_circle(open_store):
    """Two processes write batches that want the same two values: each value is had by one, and nothing fails."""
    stores = [await open_store(), await open_store()]
    await stores[0].declare([EMAIL])
    for turn in range(20):
        one, two = f"{turn}-x", f"{turn}-y"
        batches = [
            [order(f"{turn}-a", email=one), order(f"{turn}-b", email=two)],
            [order(f"{turn}-a2", email=two), order(f"{turn}-b2", email=one)],
        ]
        outcomes = await asyncio.gather(*(store.write(batch) for store, batch in zip(stores, batches, strict=True)))
        everything = [outcome for batch in outcomes for outcome in batch]
        assert sum(isinstance(outcome, Written) for outcome in everything) == 2
        assert sum(isinstance(outcome, NotUnique) for outcome in everything) == 2


async def test_a_change_leaves_other_entries_and_its_page_alone(database_for):
    """An update that changes no indexed value writes no entry, and stays in the page of its row (HOT)."""
    database = await database_for("state", *MIGRATION_SETS)
    store = PostgresStateStore(database, PostgresIdempotencyLedger(database))
    await store.declare([TOTAL])
    await store.write([order("a", total=1)])
    entry = await database.fetchval("select ctid::text from state_entry")
    for version in range(1, 4):
        await store.write([order("a", version, total=1.0, note=version)])
    assert await database.fetchval("select ctid::text from state_entry") == entry
    await store.write([order("a", 4, total=2)])
    assert await database.fetchval("select ctid::text from state_entry") != entry
    assert json.loads((await store.read([at("a")]))[at("a")].data) == {"total": 2}
