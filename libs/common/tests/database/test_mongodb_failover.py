"""A set of three loses its primary: what was acknowledged stays and is seen, and nothing is refused that was written."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from stylobate.database.manager import Limits
from stylobate.database.mongodb import MongoManager
from stylobate.errors import DatabaseUnavailableError
from stylobate.launcher.embedded import EmbeddedServerError
from stylobate.testing.mongo_set import MongoSet
from stylobate.testing.until import until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]

_ELECTION = timedelta(seconds=2)
_LIMITS = Limits(timedelta(seconds=3), timedelta(seconds=3), timedelta(seconds=3))


@pytest.fixture(scope="module")
def mongo_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoSet]:
    """Give a set whose members elect another primary after two seconds."""
    try:
        MongoSet(tmp_path_factory.mktemp("none"), election_timeout=_ELECTION)
    except EmbeddedServerError as error:
        pytest.skip(str(error))
    with MongoSet.run(tmp_path_factory.mktemp("set"), election_timeout=_ELECTION) as running:
        yield running


@pytest.fixture
async def database(mongo_set: MongoSet) -> AsyncIterator[MongoManager]:
    """Give a database of it, with nothing in it."""
    await asyncio.to_thread(mongo_set.settle)
    async with MongoManager.open(mongo_set.url, service="failover", limits=_LIMITS) as made:
        await made.delete("thing", {})
        assert await made.find("thing", {}) == []
        yield made


async def test_a_new_primary_is_believed_once_it_tells_all_that_it_has(mongo_set: MongoSet, database: MongoManager) -> None:
    """While nobody follows it, nobody knows what of its writes a majority has: nothing is told, not even what is true."""
    await database.insert("thing", [{"_id": 1}])
    first = mongo_set.primary()
    others = [member for member in mongo_set.members if member != first]
    mongo_set.lag(others[1], lags=True)
    await database.insert("thing", [{"_id": 2}])  # by the other two
    mongo_set.kill(first)
    try:
        second = await asyncio.to_thread(mongo_set.primary)
        assert second == others[0]  # who lags is not elected, and votes
        with pytest.raises(DatabaseUnavailableError):
            await until(lambda: database.find("thing", {}), lambda _: False, within_s=15)
    finally:
        mongo_set.lag(others[1], lags=False)
        mongo_set.start(first)
    assert [one["_id"] for one in await until(_answering(lambda: database.find("thing", {})))] == [1, 2]


async def test_what_no_majority_had_is_rolled_back_and_was_not_acknowledged(mongo_set: MongoSet, database: MongoManager) -> None:
    """The primary of a minority takes a write, tells nobody that it has it, and loses it when it comes back."""
    await database.insert("thing", [{"_id": "kept"}])
    first = mongo_set.primary()
    others = [member for member in mongo_set.members if member != first]
    for other in others:
        mongo_set.lag(other, lags=True)
    with pytest.raises(DatabaseUnavailableError):
        await database.insert("thing", [{"_id": "lost"}])
    with pytest.raises(DatabaseUnavailableError):
        async with database.transaction() as transaction:
            await transaction.insert("thing", [{"_id": "lost too"}])
    assert [one["_id"] for one in await database.find("thing", {})] == ["kept"]
    with mongo_set.ask(first) as client:
        assert client[database.name]["thing"].count_documents({}) == 3
    mongo_set.kill(first)
    for other in others:
        mongo_set.lag(other, lags=False)
    await until(_answering(lambda: database.update_one("thing", {"_id": "later"}, {"$set": {"is": 1}}, upsert=True)))
    mongo_set.start(first)
    await asyncio.to_thread(mongo_set.settle)
    for member in mongo_set.members:
        with mongo_set.ask(member) as client:
            await until(
                lambda there=client[database.name]["thing"]: sorted(one["_id"] for one in there.find({})),
                lambda found: found == ["kept", "later"],
            )


async def test_nothing_is_refused_that_was_written(mongo_set: MongoSet, database: MongoManager) -> None:
    """Each of the keys is written once by its writer, in each of three ways; "it is there already" would be a lie."""
    acknowledged: list[int] = []
    unknown: list[int] = []
    numbers, is_over = count(1), asyncio.Event()

    async def singly(key: int) -> None:
        await database.insert("thing", [{"_id": key}])

    async def together(key: int) -> None:
        async with database.transaction() as transaction:
            await transaction.insert("thing", [{"_id": key}])
            await transaction.update_one("count", {"_id": key % 7}, {"$inc": {"count": 1}}, upsert=True)

    async def again(key: int) -> None:
        await database.transact(lambda transaction: transaction.insert("thing", [{"_id": key}]))

    async def write(how: Callable[[int], Awaitable[None]]) -> None:
        while not is_over.is_set():
            key = next(numbers)
            try:
                await how(key)
                acknowledged.append(key)
            except DatabaseUnavailableError:
                unknown.append(key)

    async def goes_on() -> None:
        goal = len(acknowledged) + 100
        await until(lambda: len(acknowledged) >= goal)

    async with asyncio.TaskGroup() as group:
        for how in (singly, together, again) * 3:
            group.create_task(write(how))
        for _ in range(2):
            await goes_on()
            await asyncio.to_thread(mongo_set.step_down)
            await goes_on()
            killed = await asyncio.to_thread(mongo_set.primary)
            mongo_set.kill(killed)
            await goes_on()
            mongo_set.start(killed)
            await asyncio.to_thread(mongo_set.settle)
        is_over.set()
    there = {one["_id"] for one in await database.find("thing", {})}
    assert set(acknowledged) <= there <= set(acknowledged) | set(unknown)


def _answering(ask: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
    """Return an asking that gives None while the database does not answer."""

    async def asked() -> Any:
        with suppress(DatabaseUnavailableError):
            return await ask()
        return None

    return asked
