"""What only PostgreSQL shows: the event rows, how updates are stored, and a server that is gone."""

import asyncio
import json
import random
from datetime import UTC, datetime, timedelta

import pytest
from stylobate.database import DatabaseManager, Migrator
from stylobate.errors import DatabaseUnavailableError
from stylobate.health import Status
from stylobate.idempotency import Claim
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.launcher.embedded import EmbeddedPostgres, run_folder
from stylobate.outbox import partition_of
from stylobate.testing.cluster import give_empty_cluster
from stylobate.testing.until import until
from stylobate_state.model import Change, StateKey, Written
from stylobate_state.store.postgres import PostgresStateStore

from .conftest import MIGRATION_SETS
from .samples import deletion, write

KEY = StateKey("default", "orders", "42")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def test_each_change_leaves_its_event_in_the_declared_shape(database_for):
    """Type, stream, subject, version, partition, actor, time and data of every event; none has a number yet."""
    database = await database_for("state", *MIGRATION_SETS)
    store = PostgresStateStore(database, PostgresIdempotencyLedger(database))
    for one in (
        write(KEY, 0, b'{"n": 9007199254740993}', status="pending"),
        write(KEY, None, b'{"n": 1.10}', actor="bob"),
        write(KEY, 2, b"{}", change=Change.TRANSITIONED, status="paid", event="pay", from_status="pending"),
        deletion(KEY),
    ):
        await store.write([one])
    rows = await database.fetch("select * from outbox_event order by seq")
    assert [(row["type"], row["version"], row["actor"]) for row in rows] == [
        ("state.orders.created", 1, "ada"),
        ("state.orders.updated", 2, "bob"),
        ("state.orders.transitioned", 3, "ada"),
        ("state.orders.deleted", 4, "ada"),
    ]
    same = {(row["tenant"], row["stream"], row["subject"], row["source"], row["partition"], row["number"]) for row in rows}
    assert same == {("default", "orders", "42", "state", partition_of("default", "42"), None)}
    common = {"namespace": "orders", "key": "42"}
    assert [json.loads(row["data"]) for row in rows] == [
        common | {"version": 1, "status": "pending", "data": {"n": 9007199254740993}, "actor": "ada", "owner": "ada"},
        common | {"version": 2, "status": "pending", "data": {"n": 1.1}, "actor": "bob"},
        common | {"version": 3, "status": "paid", "data": {}, "actor": "ada", "event": "pay", "from": "pending", "to": "paid"},
        common | {"version": 4, "status": "paid", "data": None, "actor": "ada"},
    ]
    assert '"n": 1.10}' in rows[1]["data"]
    assert (await store.read([KEY]))[KEY].updated_at == rows[-1]["time"]


async def test_the_first_write_with_a_key_needs_no_second_connection(database_for):
    """The process does not know the indexes yet: a pool whose every connection is in such a transaction still goes on."""
    database = await database_for("state", *MIGRATION_SETS, pool_size=1)
    store = PostgresStateStore(database, PostgresIdempotencyLedger(database))
    claim = Claim("default", "ada", "put", "k", b"hash", NOW, NOW + timedelta(hours=1), lambda _: b"{}")
    assert [type(outcome) for outcome in await store.write([write(KEY, 0, claim=claim)])] == [Written]


async def test_changes_stay_in_their_page(database_for):
    """A transition touches no indexed column, so that PostgreSQL needs no new index entry for it (HOT)."""
    database = await database_for("state", *MIGRATION_SETS, pool_size=1)
    store = PostgresStateStore(database, PostgresIdempotencyLedger(database))
    await store.write([write(KEY, 0, b'{"total": 1}')])
    for version in range(1, 11):
        await store.write([write(KEY, version, b'{"total": 2}', change=Change.TRANSITIONED, status=f"s{version}")])
    await database.execute("select pg_stat_force_next_flush()")
    row = await database.fetchrow("select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'state'")
    assert tuple(row) == (10, 10)


async def test_groups_and_batches_in_opposite_orders_meet_no_deadlock(database_for):
    """Over several processes, with creations among them: the server never has to break a circle of locks."""
    databases = [await database_for("state", *MIGRATION_SETS, pool_size=1) for _ in range(6)]
    stores = [PostgresStateStore(database, PostgresIdempotencyLedger(database)) for database in databases]
    keys = [StateKey("default", "orders", f"k{number:02}") for number in range(60)]
    present = set(keys[::2])
    await stores[0].write([write(key, 0) for key in present])

    async def work(number: int) -> None:
        dice = random.Random(number)
        for turn in range(4):
            chosen = dice.sample(keys, 30)
            chosen.sort(reverse=bool(number % 2))
            # the first two thirds in groups of five, the others alone
            groups = [turn * 100 + place // 5 + 1 if place < 20 else 0 for place in range(30)]
            batch = [write(key, None if key in present else 0, group=group) for key, group in zip(chosen, groups, strict=True)]
            outcomes = await stores[number].write(batch)
            for start in range(0, 20, 5):
                assert len({isinstance(outcome, Written) for outcome in outcomes[start : start + 5]}) == 1

    async with asyncio.timeout(60):
        await asyncio.gather(*map(work, range(6)))
    for database in databases:
        await database.execute("select pg_stat_force_next_flush()")
    assert await databases[0].fetchval("select deadlocks from pg_stat_database where datname = current_database()") == 0


async def test_a_server_that_is_gone(tmp_path):
    """Every call says DATABASE_UNAVAILABLE with a time to come back, health says why, and it works again afterwards."""
    give_empty_cluster(tmp_path / "postgres")
    server = EmbeddedPostgres(tmp_path / "postgres", run_folder(tmp_path))
    await server.start()
    await server.ready()
    try:
        await Migrator(server.url, "state", MIGRATION_SETS).upgrade()
        async with DatabaseManager.open(server.url, service="state") as database:
            store = PostgresStateStore(database, PostgresIdempotencyLedger(database))
            await store.write([write(KEY, 0)])
            server.process.kill()
            await server.process.wait()
            await until(lambda: _answers(store), lambda found: not found, within_s=30)
            for call in (store.read([KEY]), store.write([write(KEY, 1)])):
                with pytest.raises(DatabaseUnavailableError) as down:
                    await call
                assert (down.value.reason, down.value.retry_after) == ("DATABASE_UNAVAILABLE", timedelta(seconds=1))
            assert (await store.health()).status is Status.UNHEALTHY
            await server.start()
            await server.ready()
            assert (await store.read([KEY]))[KEY].version == 1
            assert (await store.health()).status is Status.HEALTHY
    finally:
        await server.stop()


async def _answers(store: PostgresStateStore) -> bool:
    try:
        await store.read([KEY])
    except DatabaseUnavailableError:
        return False
    return True
