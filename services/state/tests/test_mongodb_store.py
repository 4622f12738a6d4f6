"""The adapters on MongoDB, where they do as no other does: the fence, what is entered, whoever is killed or goes away."""

import asyncio
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from bson import Int64
from stylobate.database.mongodb import MongoManager, MongoMigrator
from stylobate.errors import DatabaseUnavailableError
from stylobate.health import Status
from stylobate.launcher.embedded import EmbeddedMongo, EmbeddedServerError
from stylobate.testing.ports import free_ports
from stylobate.testing.until import until
from stylobate_state.errors import StateMovedError
from stylobate_state.model import StateKey, Written
from stylobate_state.store.mongodb.fence import MongoFence

from . import index_builder
from .conftest import MIGRATION_SETS, kept, opening
from .samples import deletion, write
from .test_index_contract import EMAIL, OPEN, TOTAL, at, built, found, moved, order

KEY = StateKey("default", "orders", "1")


@pytest.fixture
def on_mongodb(request):
    """Give what opens the adapters on MongoDB."""
    return opening(request, "mongodb")


async def test_the_fence_waits_for_who_is_writing_and_holds_who_comes_later(on_mongodb):
    """A write that is under way is committed before a namespace is given away; one that begins later is refused."""
    one, other = await on_mongodb(), await on_mongodb()
    await one.store.write([write(KEY, 0)])
    async with one.database.transaction() as transaction:
        await one.store.writer.write_in(transaction, [write(KEY, 1)])
        giving = asyncio.create_task(other.places.give("orders", "archive", with_objects=True))
        await asyncio.wait([giving], timeout=0.3)
        assert not giving.done()
    await giving
    assert (await one.store.read([KEY]))[KEY].version == 2
    with pytest.raises(StateMovedError):
        await one.store.write([write(KEY, 2)])
    assert isinstance((await one.store.write([write(KEY._replace(namespace="notes"), 0)]))[0], Written)


async def test_who_knew_no_index_enters_nothing_past_it(on_mongodb):
    """A transaction that began before an index was announced is not committed without it: the index waits, or it is made anew."""
    one, other = await on_mongodb(), await on_mongodb()
    await one.store.write([order("a", total=2)])
    async with one.database.transaction() as transaction:
        await one.store.writer.write_in(transaction, [order("b", total=1)])
        declaring = asyncio.create_task(other.store.declare([TOTAL]))
        await asyncio.wait([declaring], timeout=0.3)
        assert not declaring.done()
    await declaring
    await built(other.store)
    assert isinstance((await one.store.write([order("c", total=0)]))[0], Written)
    assert await found(other.store, TOTAL) == ["c", "b", "a"]


async def test_a_generation_that_nobody_closed_is_closed_by_the_builder(on_mongodb):
    """Whoever announces an index may be killed before all writers know it: no index is built before that is made up for."""
    one, other = await on_mongodb(), await on_mongodb()
    await one.store.write([order("a", total=1)])
    fence = MongoFence(one.database)
    await one.database.transact(fence.begin)
    assert isinstance((await other.store.write([order("b", total=1)]))[0], Written)
    await one.store.build(10)
    (said,) = (await one.database.command({"listCollections": 1, "filter": {"name": "state"}}))["cursor"]["firstBatch"]
    assert said["options"]["validator"]["known"] == {"$gte": 1}
    assert isinstance((await other.store.write([order("c", total=1)]))[0], Written)


async def test_a_validator_of_another_time_is_made_anew(on_mongodb):
    """After a restore that has the objects and not what there is to know, writers go on by themselves."""
    one = await on_mongodb()
    await one.store.declare([TOTAL])
    await one.database.delete("state_fence", {})
    await one.database.delete("state_index", {})
    other = await on_mongodb()
    assert isinstance((await other.store.write([order("a", total=1)]))[0], Written)


async def test_an_entry_is_written_where_it_changes(on_mongodb):
    """An update that changes no indexed value writes no entry; a deletion that waited leaves none."""
    one = await on_mongodb()
    await one.store.declare([TOTAL, OPEN])
    await one.store.write([order("a", status="draft", total=1)])
    await one.database.update_many("state_entry", {}, {"$set": {"sort": "untouched"}})
    await one.store.write([order("a", 1, total=1.0, note=1)])
    assert {entry["sort"] for entry in await one.database.find("state_entry", {})} == {"untouched"}
    await one.store.write([moved("a", 2, "paid", b'{"total": 2}')])
    assert len(await one.database.find("state_entry", {"sort": {"$ne": "untouched"}})) == await one.count("state_entry")
    await one.store.write([deletion(at("a"))])
    assert await one.count("state_entry") == 0


@pytest.mark.timeout(150)
@pytest.mark.not_sharded
async def test_a_builder_that_is_killed_leaves_what_it_did(mongo_databases):
    """Killed in the middle of a transaction; two others go on where it was, and every object is entered once."""
    async with (
        mongo_databases.fresh("state", *MIGRATION_SETS) as url,
        MongoManager.open(url, service="state") as database,
        MongoManager.open(url, service="state") as another,
    ):
        await _killed(kept(database), kept(another), url)


async def _killed(one, rival, url):
    keys = [f"{number:03d}" for number in range(100)]
    await one.store.write([order(key, total=-int(key), email=key) for key in keys])
    await one.store.declare([TOTAL])

    async def entered():
        (standing,) = await one.store.indexes()
        return standing.entered

    async with one.database.transaction() as transaction:  # the builder comes to this object, and begins anew all along
        await transaction.update_one("state", {"_id.key": "055"}, {"$set": {"known": Int64(1)}})
        builder = await asyncio.create_subprocess_exec(sys.executable, index_builder.__file__, url)
        try:
            await until(entered, lambda count: count == 50, within_s=30)
        finally:
            builder.kill()
            await builder.wait()
    assert await entered() == 50

    async def goes_on(store):
        try:
            await built(store)
        except DatabaseUnavailableError:  # what it had begun is open still, until the server ends it after a minute
            return False
        return True

    await asyncio.gather(*(until(partial(goes_on, each.store), within_s=120) for each in (one, rival)))
    assert await found(one.store, TOTAL, limit=200) == keys[::-1]
    assert await entered() == len(keys)


async def test_groups_in_opposite_orders_are_all_written(on_mongodb):
    """Of two values in opposite orders each has one owner, whoever wrote first, and nothing waits in a circle."""
    stores = [(await on_mongodb()).store for _ in range(3)]
    await stores[0].declare([EMAIL])
    for turn in range(5):
        names = [f"{turn}-x", f"{turn}-y"]
        batches = [
            [order(f"{turn}-{number}-{name}", email=name) for name in (names if number % 2 else names[::-1])]
            for number in range(3)
        ]
        outcomes = await asyncio.gather(*(store.write(batch) for store, batch in zip(stores, batches, strict=True)))
        assert sum(isinstance(outcome, Written) for batch in outcomes for outcome in batch) == 2


@pytest.mark.soak
async def test_a_server_that_is_gone(tmp_path: Path):
    """Every call says DATABASE_UNAVAILABLE with a time to come back, health says why; what was acknowledged is there later."""
    try:
        server = EmbeddedMongo(tmp_path / "mongodb", free_ports(1))
    except EmbeddedServerError as error:
        pytest.skip(str(error))
    await server.start()
    await server.ready()
    try:
        await MongoMigrator(server.url, "state", MIGRATION_SETS).upgrade()
        async with MongoManager.open(server.url, service="state") as database:
            store = kept(database).store
            await store.write([write(KEY, 0)])
            server.process.kill()
            await server.process.wait()
            for call in (store.read([KEY]), store.write([write(KEY, 1)])):
                with pytest.raises(DatabaseUnavailableError) as down:
                    await call
                assert (down.value.reason, down.value.retry_after) == ("DATABASE_UNAVAILABLE", timedelta(seconds=1))
            assert (await store.health()).status is Status.UNHEALTHY
            await server.start()
            await server.ready()

            async def answers():
                try:
                    return (await store.read([KEY]))[KEY].version
                except DatabaseUnavailableError:
                    return 0

            await until(answers, lambda version: version == 1, within_s=30)
            assert isinstance((await store.write([write(KEY, 1)]))[0], Written)
    finally:
        await server.stop()
