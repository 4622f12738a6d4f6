"""Lists from a replica, and state after a failover: a second real server that follows the first."""

from pathlib import Path

import pytest
from stylobate.database import DatabaseManager, Migrator
from stylobate.declarations.model import IndexField
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.testing.standby import pair
from stylobate.testing.until import until
from stylobate_state.index import Index
from stylobate_state.index_encoding import BEYOND
from stylobate_state.model import ByteRange, IndexQuery, ListQuery, StateKey, Written
from stylobate_state.store.part import Part
from stylobate_state.store.postgres import PostgresStateStore

from .conftest import MIGRATION_SETS
from .samples import write

NUMBER = Index("orders", (IndexField("n", "number"),))
EVERYTHING = (ByteRange(b"", BEYOND, 0),)


def key(name: str) -> StateKey:
    """Name an order."""
    return StateKey("default", "orders", name)


async def names(store: PostgresStateStore, *, may_lag: bool) -> list[str]:
    """Return the keys that a list finds."""
    found = await store.list_states(ListQuery("default", "orders", 50, may_lag=may_lag))
    return [state.key.key for state in found.items]


async def newest(store: PostgresStateStore) -> list[str]:
    """Return the keys that an index finds on the replica, sorted by another field."""
    created_at = IndexField("created_at", "time")
    query = IndexQuery("default", NUMBER, EVERYTHING, 50, is_descending=True, may_lag=True, order=created_at)
    found = await store.query(query)
    assert isinstance(found, Part)
    return [item.state.key.key for item in found.items]


@pytest.mark.timeout(120)
async def test_lists_may_come_from_a_replica_which_may_take_over(tmp_path: Path) -> None:
    """Who allows it reads what the replica has; it is cut off, is gone, or becomes the writer: each has its answer."""
    async with pair(tmp_path) as both:
        await Migrator(both.url, "state", MIGRATION_SETS).upgrade()
        async with DatabaseManager.open(both.url, service="state", replica_url=both.standby.url) as database:
            store = PostgresStateStore(database, PostgresIdempotencyLedger(database))
            await store.declare([NUMBER])
            await store.write([write(key("1"), 0, b'{"n": 1}')])
            await both.caught_up()
            assert await names(store, may_lag=True) == await newest(store) == ["1"]
            await both.cut()
            await store.write([write(key("2"), 0, b'{"n": 1}')])
            assert await names(store, may_lag=True) == await newest(store) == ["1"]
            assert await store.count(ListQuery("default", "orders", 50, may_lag=True)) == 1
            assert await names(store, may_lag=False) == ["1", "2"]
            await both.standby.stop()
            assert await names(store, may_lag=True) == ["1", "2"]  # the database itself answers for it
            assert await newest(store) == ["2", "1"]


@pytest.mark.timeout(120)
async def test_state_goes_on_with_a_standby_that_took_over(tmp_path: Path) -> None:
    """The writer is killed: what was copied is there, versions go on, and the store finds the new writer by itself."""
    async with pair(tmp_path) as both:
        await Migrator(both.url, "state", MIGRATION_SETS).upgrade()
        async with DatabaseManager.open(both.url, service="state") as database:
            store = PostgresStateStore(database, PostgresIdempotencyLedger(database))
            await store.write([write(key("1"), 0)])
            await store.write([write(key("1"), 1)])
            await both.caught_up()
            await both.fail_over()

            async def goes_on() -> bool:
                try:
                    return (await store.read([key("1")]))[key("1")].version == 2
                except Exception:  # noqa: BLE001  while it moves
                    return False

            await until(goes_on, within_s=60)

            async def written() -> bool:
                try:
                    (outcome,) = await store.write([write(key("1"), 2)])
                except Exception:  # noqa: BLE001  while it moves
                    return False
                return isinstance(outcome, Written) and outcome.version == 3

            await until(written, within_s=60)
