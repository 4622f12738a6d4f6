"""Users and passwords that are exchanged while statements and transactions run: at a MongoDB that asks for them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from pymongo.errors import AutoReconnect
from stylobate.config import ConfigError
from stylobate.database.migrations import MigrationError, MigrationSet
from stylobate.database.mongodb import MongoManager, MongoMigrator
from stylobate.database.mongodb.copying import MongoMoments
from stylobate.database.mongodb.ways import Way
from stylobate.errors import DatabaseUnavailableError
from stylobate.testing.mongo_users import MongoWithUsers
from stylobate.testing.until import until

RIGHTS = [{"role": role, "db": "stylobate_login"} for role in ("readWrite", "dbAdmin")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MongoWithUsers]:
    """Give a server that lets nobody in without a password."""
    async with MongoWithUsers.run(tmp_path_factory.mktemp("users")) as made:
        yield made


pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def user(server: MongoWithUsers, name: str, password: str) -> AsyncIterator[None]:
    """Have a user for the block."""
    await server.command("createUser", name, pwd=password, roles=RIGHTS)
    yield
    await server.command("dropUser", name)


class Load:
    """Statements and transactions without a pause, by more and more at once: each needs a connection of its own."""

    def __init__(self, database: MongoManager) -> None:
        self.done = 0
        self._database = database
        self._at_once = 1
        self._tasks = {asyncio.create_task(self._run(1))}

    async def _run(self, number: int) -> None:
        while self._at_once:
            await self._database.find_one("account", {"_id": number})
            await self._database.update_one("account", {"_id": number}, {"$inc": {"seen": 1}}, upsert=True)
            async with self._database.transaction() as transaction:
                await transaction.lock("account", {"_id": number})
                await transaction.insert("entry", [{"by": number}])
            self.done += 1

    async def grows(self) -> None:
        """Have one more connection needed, and wait until that has gone well. Raises what any of them raised."""
        self._at_once += 1
        self._tasks.add(asyncio.create_task(self._run(self._at_once)))
        seen = self.done
        await until(lambda: self._ended() or self.done > seen + 10)
        for task in self._ended():
            task.result()

    async def stop(self) -> int:
        """End it, and return how many transactions were done. Raises what any of them raised."""
        self._at_once = 0
        await asyncio.gather(*self._tasks)
        return self.done

    def _ended(self) -> list[asyncio.Task[None]]:
        return [task for task in self._tasks if task.done()]


def opened(url: str, refused: Callable[[], None] = lambda: None) -> Any:
    """Open the database of a service."""
    return MongoManager.open(url, service="login", pool_size=8, refused=refused)


async def test_no_statement_fails_while_a_password_is_exchanged(server: MongoWithUsers) -> None:
    """In either order: told here first, it is tried until it is taken; changed there first, who is refused asks for it."""
    fresh, asked = "", list[asyncio.Task[None]]()

    async def exchange() -> None:
        await database.use(server.url("app", fresh))

    def refused() -> None:
        asked.append(asyncio.create_task(exchange()))

    async with user(server, "app", "first"), opened(server.url("app", "first"), refused) as database:
        load = Load(database)
        await load.grows()
        with pytest.raises(
            ConfigError, match=r"STYLOBATE_DATABASE_URL: database .*: it does not let us in: Authentication failed"
        ):
            await database.use(server.url("app", "second"))
        await server.command("updateUser", "app", pwd="second")
        await load.grows()
        await load.grows()
        await database.use(server.url("app", "second"))
        assert not asked

        fresh = "third"
        await server.command("updateUser", "app", pwd="third")
        while not asked:
            await load.grows()
        await load.grows()
        done = await load.stop()
        assert await database.count("entry", {}) == done, "none is missing, and none was done twice"
        await asyncio.gather(*asked)
        assert (await database.health()).status == "healthy"


async def test_who_waited_for_a_connection_goes_on_with_the_other_login(server: MongoWithUsers) -> None:
    """When another connection was refused the driver sends all away who wait for one: nothing of theirs was done."""
    paused = AutoReconnect("127.0.0.1:27017: connection pool paused (configured timeouts: timeoutMS: 4000.0ms)")
    asked = asyncio.Event()

    async def once_sent_away(way: Way) -> int:
        if way is former:
            raise paused
        return 1

    async with user(server, "max", "first"), opened(server.url("max", "first"), asked.set) as database:
        former = database.way()
        with pytest.raises(DatabaseUnavailableError):  # as when a server is gone: nobody was refused
            await database.run(lambda way: way, lambda way, _: once_sent_away(way))
        await server.command("updateUser", "max", pwd="second")
        with pytest.raises(DatabaseUnavailableError):
            await asyncio.gather(*(database.find("letter", {"_id": number}) for number in range(8)))
        assert former.is_refused()
        waiting = asyncio.create_task(database.run(lambda way: way, lambda way, _: once_sent_away(way)))
        asked.clear()
        await asked.wait()
        await database.use(server.url("max", "second"))
        assert await waiting == 1


async def test_another_user_takes_over(server: MongoWithUsers) -> None:
    """And the one before may be removed at once: a transaction under way, and what is listened to, go on with the other."""
    heard: list[str] = []
    await server.command("createUser", "ada", pwd="x", roles=RIGHTS)
    async with user(server, "bob", "y"), opened(server.url("ada", "x")) as database:
        await database.listen("news", heard.append)
        async with database.transaction() as transaction:
            await transaction.insert("letter", [{"_id": 1}])
            await database.use(server.url("bob", "y"))
            await server.command("dropUser", "ada")
            await transaction.insert("letter", [{"_id": 2}])
        who = (await database.command("connectionStatus"))["authInfo"]["authenticatedUsers"]
        assert [one["user"] for one in who] == ["bob"]
        assert await database.count("letter", {}) == 2
        await until(lambda: heard)  # it says that something may have been missed
        heard.clear()
        await database.notify("news")
        await until(lambda: heard)


async def test_who_is_let_in_no_more_is_told_to_come_again(server: MongoWithUsers) -> None:
    """Removed, with no other login: an outage; let in again, it goes on. A URL that leads elsewhere is refused."""
    await server.command("createUser", "eve", pwd="x", roles=RIGHTS)
    async with opened(server.url("eve", "x")) as database:
        assert await database.find("letter", {"_id": 0}) == []
        await server.command("dropUser", "eve")
        with pytest.raises(DatabaseUnavailableError):
            await database.find("letter", {"_id": 0})
        async with user(server, "eve", "x"):
            assert await database.find("letter", {"_id": 0}) == []
            with pytest.raises(ConfigError, match="only user and password change while the service runs"):
                await database.use(server.url("eve", "x", name="other"))


async def test_what_is_left_of_a_transaction_is_killed_by_whose_it_was(server: MongoWithUsers) -> None:
    """Under access control a user may kill its own sessions; another login that came meanwhile would not reach them."""
    async with user(server, "kim", "x"), user(server, "lee", "y"), opened(server.url("kim", "x")) as database:
        await database.insert("account", [{"_id": "k", "n": 0}])
        transaction = database.transaction()
        await transaction.__aenter__()
        await transaction.update_one("account", {"_id": "k"}, {"$inc": {"n": 1}})
        transaction._is_left = True
        await transaction._session._transaction.reset()  # nobody undoes it
        await database.use(server.url("lee", "y"))
        transaction._is_open = False
        await transaction._end()
        await database.update_one("account", {"_id": "k"}, {"$inc": {"n": 1}})
        assert await database.find_one("account", {"_id": "k"}) == {"_id": "k", "n": 1}


async def test_a_user_is_given_what_a_service_needs(server: MongoWithUsers) -> None:
    """And no more: no index, no other database. Migrations and a backup see what they must; who may not give it is told."""
    sets = (MigrationSet.of("leases"), MigrationSet.of("outbox"))
    rights = [{"role": role, "db": "shop_bank"} for role in ("readWrite", "dbAdmin", "userAdmin")]
    await server.command("createUser", "owner", pwd="x", roles=rights)
    owner = MongoMigrator(server.url("owner", "x", name="shop"), "bank", sets)
    await owner.upgrade()
    await server.command("createUser", "svc", pwd="x", roles=[])
    url = server.url("svc", "x", name="shop")
    with pytest.raises(MigrationError, match=r"svc may not .*not authorized on shop_bank"):
        await MongoMigrator(url, "bank", sets).upgrade()
    with pytest.raises(
        MigrationError,
        match=r"the role stylobate_bank of shop_bank cannot be granted to svc: the user needs userAdmin there: not authorized",
    ):
        await MongoMigrator(url, "bank", sets).grant("svc")
    with pytest.raises(MigrationError, match=r"cannot be granted to nobody: Could not find user .*nobody"):
        await owner.grant("nobody")
    await owner.grant("svc")
    await owner.grant("svc")
    assert await MongoMigrator(url, "bank", sets).pending() == []
    assert await MongoMigrator(url, "bank", sets).upgrade() == []
    async with MongoManager.open(url, service="bank") as bank, MongoMoments().snapshot(url, "bank") as moment:
        heard: list[str] = []
        await bank.listen("news", heard.append)
        async with bank.transaction() as transaction:
            await transaction.insert("account", [{"_id": 1}])
            transaction.notify("news")
        await until(lambda: heard)
        await bank.command({"collMod": "account", "validator": {"_id": {"$gt": 0}}})
        assert await moment.enter("bank", use_role=False)
        assert "account" in (await moment.contents("bank")).tables
        for refused in ({"createIndexes": "account", "indexes": [{"key": {"n": 1}, "name": "n"}]}, {"drop": "account"}):
            with pytest.raises(ConfigError, match="not authorized on shop_bank"):
                await bank.command(refused)
    with pytest.raises(ConfigError, match="not authorized on shop_till"):
        async with MongoManager.open(url, service="till"):
            pass
