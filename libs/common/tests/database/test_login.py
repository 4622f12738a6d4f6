"""Users and passwords that are exchanged while statements run: at a server that asks for them."""

import asyncio
from urllib.parse import quote

import asyncpg
import pytest
from stylobate.config import ConfigError
from stylobate.database import DatabaseManager, login
from stylobate.launcher.embedded import EmbeddedPostgres
from stylobate.testing.cluster import give_empty_cluster
from stylobate.testing.until import until


@pytest.fixture
async def server(tmp_path, server_run):
    """Give a server that lets its owner in, and all others with a password alone."""
    rules = tmp_path / "hba.conf"
    rules.write_text("local all stylobate trust\nlocal all all scram-sha-256\n")
    tmp_path.chmod(0o755)
    give_empty_cluster(tmp_path / "data")
    postgres = EmbeddedPostgres(tmp_path / "data", server_run, options={"fsync": "off", "hba_file": str(rules)})
    await postgres.start()
    await postgres.ready()
    yield postgres
    await postgres.stop()


async def _as_owner(server, *statements: str) -> None:
    connection = await asyncpg.connect(server.url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


def _url(server, user: str, password: str) -> str:
    return server.url.replace("stylobate@", f"{user}:{quote(password)}@")


class _Load:
    """Statements without a pause, on two connections, each of which is made anew now and then."""

    def __init__(self, database) -> None:
        self.done = 0
        self._database = database
        self._stopped = False

    async def run(self) -> None:
        while not self._stopped:
            await asyncio.gather(*(self._database.fetchval("select pg_sleep(0.001)") for _ in range(3)))
            await self._database.reader.fetchval("select 1")
            self.done += 1

    def stop(self) -> None:
        self._stopped = True


async def test_no_statement_fails_while_a_password_is_exchanged(server, monkeypatch) -> None:
    """In either order: told here first, it is tried until it is taken; changed there first, who is refused asks for it."""
    monkeypatch.setattr(login, "_PATIENCE_S", 30)  # a busy machine hands the password on when it comes to it
    await _as_owner(server, "create role app login password 'first'")
    fresh = ""

    async def exchange() -> None:
        await database.use(_url(server, "app", fresh))

    asked: list[asyncio.Task[None]] = []

    def refused() -> None:
        asked.append(asyncio.create_task(exchange()))

    opened = DatabaseManager.open(_url(server, "app", "first"), service="login", use_role=False, refused=refused)
    async with opened as database, asyncio.TaskGroup() as group:
        load = _Load(database)
        group.create_task(load.run())
        await until(lambda: load.done > 5)

        with pytest.raises(ConfigError, match='password authentication failed for user "app"'):
            await database.use(_url(server, "app", "second"))
        await _as_owner(server, "alter role app password 'second'")
        await database.renew()  # as a pool does by itself in time
        seen = load.done
        await until(lambda: load.done > seen + 5)
        await database.use(_url(server, "app", "second"))
        assert not asked

        fresh = "third"
        await _as_owner(server, "alter role app password 'third'")
        await database.renew()
        await until(lambda: asked)
        seen = load.done
        await until(lambda: load.done > seen + 5)
        load.stop()
    await asyncio.gather(*asked)


async def test_another_user_takes_over_every_connection(server) -> None:
    """Those of both pools, and the one that listens, which hears what is told afterwards."""
    await _as_owner(server, "create role ada login password 'x'", "create role bob login password 'y'")
    heard: list[str] = []
    async with DatabaseManager.open(_url(server, "ada", "x"), service="login", use_role=False) as database:
        await database.listen("news", heard.append)
        await database.reader.fetchval("select 1")
        await database.use(_url(server, "bob", "y"))
        for queries in (database, database.reader):
            assert await queries.fetchval("select current_user") == "bob"
        mine = "select count(*) from pg_stat_activity where usename = 'ada'"
        await until(lambda: database.fetchval(mine), lambda count: count == 0)
        await until(lambda: heard)  # it says that something may have been missed
        await database.execute("notify news, 'told'")
        await until(lambda: "told" in heard)
        assert (await database.health()).status == "healthy"


async def test_another_server_needs_a_restart(server) -> None:
    """A URL that leads to another database is refused, and changes nothing."""
    async with DatabaseManager.open(server.url, service="login", use_role=False) as database:
        with pytest.raises(ConfigError, match="STYLOBATE_DATABASE_URL: only user and password change while the service runs"):
            await database.use(server.url.replace("/stylobate?", "/postgres?"))
        assert await database.fetchval("select current_database()") == "stylobate"
