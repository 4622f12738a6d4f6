"""What only PostgreSQL shows: the event rows, how updates are stored, and a server that is gone."""

import json
from datetime import timedelta

import pytest
from stylobate.database import DatabaseManager, Migrator
from stylobate.errors import DatabaseUnavailableError
from stylobate.health import Status
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.launcher.embedded import EmbeddedPostgres, run_folder
from stylobate.outbox import partition_of
from stylobate.testing.until import until
from stylobate_state.model import Change, StateKey
from stylobate_state.store.postgres import PostgresStateStore

from .conftest import MIGRATION_SETS
from .samples import deletion, write

KEY = StateKey("default", "orders", "42")


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
        common | {"version": 1, "status": "pending", "data": {"n": 9007199254740993}, "actor": "ada"},
        common | {"version": 2, "status": "pending", "data": {"n": 1.1}, "actor": "bob"},
        common | {"version": 3, "status": "paid", "data": {}, "actor": "ada", "event": "pay", "from": "pending", "to": "paid"},
        common | {"version": 4, "status": "paid", "data": None, "actor": "ada"},
    ]
    assert '"n": 1.10}' in rows[1]["data"]
    assert (await store.read([KEY]))[KEY].updated_at == rows[-1]["time"]


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


async def test_a_server_that_is_gone(tmp_path):
    """Every call says DATABASE_UNAVAILABLE with a time to come back, health says why, and it works again afterwards."""
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
