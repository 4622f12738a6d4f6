"""MongoDB's ground: transactions that wait as row locks do, what errors become, signals."""

import asyncio
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from pymongo import InsertOne
from stylobate.database.mongodb import DuplicateError, MongoManager
from stylobate.errors import DatabaseUnavailableError, ValueRefusedError
from stylobate.testing.fixtures import MongoFor
from stylobate.testing.mongodb import MongoDatabases
from stylobate.testing.until import until


@pytest.fixture
async def database(mongo_for: MongoFor) -> MongoManager:
    """Give a database with three accounts."""
    made = await mongo_for("bank")
    await made.insert("account", [{"_id": name, "balance": 10} for name in ("a", "b", "c")])
    return made


async def test_a_transaction_happens_whole_or_not_at_all(database: MongoManager) -> None:
    """What was written before an error is undone, and nobody saw it before."""
    with suppress(ZeroDivisionError):
        async with database.transaction() as transaction:
            await transaction.update_one("account", {"_id": "a"}, {"$inc": {"balance": -5}})
            assert (await database.find_one("account", {"_id": "a"}) or {})["balance"] == 10
            raise ZeroDivisionError
    async with database.transaction() as transaction:
        await transaction.update_one("account", {"_id": "a"}, {"$inc": {"balance": -5}})
        await transaction.update_one("account", {"_id": "b"}, {"$inc": {"balance": 5}})
    assert {one["_id"]: one["balance"] for one in await database.find("account", {})} == {"a": 5, "b": 15, "c": 10}


async def test_who_locks_waits_for_whoever_has_the_lock(database: MongoManager) -> None:
    """Twenty at once that read, reckon and write lose nothing: each begins anew until it is its turn."""

    async def withdraw() -> None:
        async with database.transaction() as transaction:
            account = await transaction.lock("account", {"_id": "a"})
            assert account is not None
            await transaction.update_one("account", {"_id": "a"}, {"$set": {"balance": account["balance"] - 1}})

    await asyncio.gather(*(withdraw() for _ in range(20)))
    assert (await database.find_one("account", {"_id": "a"}) or {})["balance"] == -10


async def test_what_was_read_before_a_clash_must_still_be_so(database: MongoManager) -> None:
    """A transaction that clashes goes on when all it has read is the same, and is refused when it is not."""
    for changes_what_was_read in (False, True):
        expected = pytest.raises(DatabaseUnavailableError) if changes_what_was_read else nullcontext()
        with expected:
            async with database.transaction() as transaction:
                await transaction.find("account", {"_id": {"$in": ["a", "b"]}})
                await database.update_one("account", {"_id": "c"}, {"$inc": {"balance": 1}})
                if changes_what_was_read:
                    await database.update_one("account", {"_id": "b"}, {"$inc": {"balance": 1}})
                await transaction.update_one("account", {"_id": "c"}, {"$inc": {"balance": 100}})
    assert (await database.find_one("account", {"_id": "c"}) or {})["balance"] == 112


async def test_work_may_run_again(database: MongoManager) -> None:
    """`transact` runs the whole of it anew, with what it reads then."""
    seen: list[int] = []

    async def work(transaction: Any) -> int:
        account = await transaction.find_one("account", {"_id": "a"})
        seen.append(account["balance"])
        if len(seen) == 1:
            await database.update_one("account", {"_id": "a"}, {"$inc": {"balance": 1}})
        await transaction.update_one("account", {"_id": "a"}, {"$inc": {"balance": account["balance"]}})
        return int(account["balance"])

    assert await database.transact(work) == 11
    assert seen == [10, 11]


async def test_a_key_that_is_there_ends_the_transaction(database: MongoManager) -> None:
    """It is told with the index and the key, by one write and by many; nothing of the transaction happens, nor can more."""
    for write in (
        lambda on: on.insert("account", [{"_id": "a"}]),
        lambda on: on.insert("account", [{"_id": "d"}, {"_id": "a"}]),
        lambda on: on.bulk("account", [InsertOne({"_id": "a"})]),
    ):
        with pytest.raises(DuplicateError) as caught:
            async with database.transaction() as transaction:
                await write(transaction)
        assert (caught.value.index, caught.value.key) == ("_id_", {"_id": "a"})

    async def go_on_after_it() -> None:
        async with database.transaction() as transaction:
            with suppress(DuplicateError):
                await transaction.insert("account", [{"_id": "a"}])

    with pytest.raises(RuntimeError, match="had failed"):
        await go_on_after_it()
    assert await database.count("account", {}) == 3


async def test_values_that_cannot_be_kept_are_refused(database: MongoManager) -> None:
    """What BSON has no room for is the caller's to hear of, wherever it stands."""
    for value in (2**63, "\ud800", "x" * (16 * 1024 * 1024)):
        with pytest.raises(ValueRefusedError):
            await database.insert("account", [{"_id": "big", "value": value}])
        with pytest.raises(ValueRefusedError):
            async with database.transaction() as transaction:
                await transaction.insert("account", [{"_id": "big", "value": value}])


async def test_a_reader_writes_nothing(database: MongoManager) -> None:
    """It is for reads that may go to a secondary."""
    assert (await database.reader.find_one("account", {"_id": "a"}) or {})["balance"] == 10
    with pytest.raises(RuntimeError):
        await database.reader.delete("account", {})


async def test_what_is_held_is_asked_nothing(database: MongoManager) -> None:
    """A database that is not to be used yet does not answer, and says why."""
    database.hold("it was not there yet")
    for work in (database.find("account", {}), database.transact(lambda transaction: transaction.find("account", {}))):
        with pytest.raises(DatabaseUnavailableError) as caught:
            await work
        assert caught.value.metadata["cause"] == "it was not there yet"
    database.hold("")
    assert (await database.health()).status == "healthy"


async def test_signals_come_after_the_commit(mongo_for: MongoFor) -> None:
    """Another process hears of a transaction that was committed, and not of one that failed; each channel by itself."""
    here, there = await mongo_for("bank"), await mongo_for("bank")
    heard: list[str] = []
    one, two = asyncio.Event(), asyncio.Event()
    listening = [
        await there.listen("one", lambda _: (heard.append("one"), one.set())[1]),
        await there.listen("two", lambda _: (heard.append("two"), two.set())[1]),
    ]
    with suppress(ZeroDivisionError):
        async with here.transaction() as transaction:
            transaction.notify("one")
            raise ZeroDivisionError
    async with here.transaction() as transaction:
        await transaction.insert("account", [{"_id": "d"}])
        transaction.notify("two")
        assert heard == []
    async with asyncio.timeout(60):
        await two.wait()
    assert heard == ["two"]
    for each in listening:
        await each.close()


async def test_databases_of_tests_are_used_again_empty(mongo_databases: MongoDatabases) -> None:
    """What a test left is gone, whatever it was; what migrations put there is not."""
    async with mongo_databases.fresh("bank") as url, MongoManager.open(url, service="bank") as database:
        await database.insert("account", [{"_id": "a"}])
    async with mongo_databases.fresh("bank") as again, MongoManager.open(again, service="bank") as database:
        assert await database.find("account", {}) == []


async def test_a_command_takes_no_task_of_its_own(database: MongoManager) -> None:
    """Whoever asks writes and reads in its own task: the driver, left alone, begins three for each command."""
    loop, begun = asyncio.get_running_loop(), list[str]()

    def made(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> "asyncio.Task[Any]":
        task = asyncio.Task(coroutine, loop=loop, **options)
        begun.append(coroutine.__qualname__)
        return task

    await database.find_one("account", {"_id": "a"})
    loop.set_task_factory(made)
    try:
        async with database.transaction() as transaction:
            await transaction.update_one("account", {"_id": "a"}, {"$inc": {"balance": 1}})
        await database.find("account", {})
    finally:
        loop.set_task_factory(None)
    assert begun == []


async def test_a_connection_that_is_given_up_says_so_to_who_waits(database: MongoManager) -> None:
    """The driver gives up what is under way to a server that it cannot reach any more: who waits is told, and the next works."""
    waiting = asyncio.create_task(database.command({"find": "account", "filter": {"$where": "sleep(1000) || true"}}))
    (server,) = database.way().client._topology._servers.values()
    await until(lambda: server.pool.active_contexts)
    for context in [*server.pool.active_contexts]:
        context.cancel()
    with pytest.raises(DatabaseUnavailableError):
        await waiting
    assert await database.count("account", {}) == 3


async def test_many_writes_of_a_transaction_go_in_portions(database: MongoManager) -> None:
    """Writes that are too large for one message go in several; one that fails ends the transaction with the error of its kind."""
    text = "x" * 3_000_000
    things = [{"_id": number, "text": text} for number in range(7)]
    async with database.transaction() as transaction:
        assert await transaction.write_each("thing", "insert", things, [len(text)] * 7) == 7
    changes = [{"q": {"_id": number}, "u": {"$set": {"is": number}}, "upsert": number > 6} for number in (0, 5, 9)]
    async with database.transaction() as transaction:
        assert await transaction.write_each("thing", "update", changes, [100] * 3) == 3
        assert await transaction.write_each("thing", "update", [], []) == 0
    assert sorted(one["is"] for one in await database.find("thing", {"is": {"$gte": 0}})) == [0, 5, 9]
    with pytest.raises(DuplicateError):
        async with database.transaction() as transaction:
            await transaction.write_each("thing", "insert", [{"_id": 20}, {"_id": 0}], [100] * 2)
    assert await database.find_one("thing", {"_id": 20}) is None


async def test_what_does_not_fit_into_one_answer_is_not_read(database: MongoManager) -> None:
    """A pipeline gives all that it has, or nothing: more than 16 MB is not brought here."""
    await database.insert("large", [{"_id": number, "text": "x" * 1_000_000} for number in range(20)])
    found = await database.aggregate_within("large", [{"$sort": {"_id": 1}}, {"$limit": 3}], 3)
    assert [one["_id"] for one in found or ()] == [0, 1, 2]
    assert await database.aggregate_within("large", [{"$sort": {"_id": 1}}], 20) is None
