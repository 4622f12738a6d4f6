"""Further databases of a service: their logins are exchanged as that of the first one is."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import asyncpg
import pytest
from stylobate.app import database_apart
from stylobate.app.manager import AppManager
from stylobate.app.storage import PostgresStorage, Storage
from stylobate.config import Settings
from stylobate.database import DatabaseManager, MigrationSet, login
from stylobate.health import Status
from stylobate.launcher.embedded import EmbeddedPostgres
from stylobate.services import ServiceSpec
from stylobate.testing.cluster import give_empty_cluster
from stylobate.testing.until import until
from stylobate.value_kinds import DatabaseUrl


class ShopSettings(Settings):
    """A service's settings for these tests."""

    service: ClassVar[str] = "shop"

    databases: Mapping[str, DatabaseUrl] = {}


@pytest.fixture
async def server(tmp_path: Any, server_run: Any) -> AsyncIterator[EmbeddedPostgres]:
    """Give a server with two databases that lets its owner in, and `app` with the password `second`. It does not run."""
    rules = tmp_path / "hba.conf"
    rules.write_text("local all stylobate trust\nlocal all all scram-sha-256\n")
    tmp_path.chmod(0o755)
    give_empty_cluster(tmp_path / "data")
    postgres = EmbeddedPostgres(tmp_path / "data", server_run, options={"fsync": "off", "hba_file": str(rules)})
    await _start(postgres)
    await _as_owner(postgres, "create role app superuser login password 'second'", "create database one", "create database two")
    await postgres.stop()
    yield postgres
    await postgres.stop()


async def _start(server: EmbeddedPostgres) -> None:
    await server.start()
    await server.ready()


async def _as_owner(server: EmbeddedPostgres, *statements: str) -> None:
    connection = await asyncpg.connect(server.url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


def _settings(server: EmbeddedPostgres, password: str, *names: str) -> ShopSettings:
    def url(name: str) -> str:
        return server.url.replace("stylobate@", f"app:{password}@").replace("/stylobate?", f"/{name}?")

    return ShopSettings(databases={name: url(name) for name in names or ("one", "two")})


async def test_logins_of_further_databases_are_exchanged(
    server: EmbeddedPostgres, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not there at the start and then refused, they are opened with another password; under load it is exchanged for a third."""
    monkeypatch.setattr(database_apart, "_WITHIN_S", 0.05)
    monkeypatch.setattr(login, "_PATIENCE_S", 30)  # a busy machine hands the password on when it comes to it
    (tmp_path / "0001_create.sql").write_text("create table item (id int primary key);")
    spec = ServiceSpec("shop", ShopSettings, cast("Any", None), migrations=(MigrationSet("shop", tmp_path),))
    shared, refused = SimpleNamespace(listeners=None), list[bool]()
    shared.secret_refused = lambda: refused.append(True)
    app = AppManager(cast("Any", shared), spec, _settings(server, "first"), cast("Any", None))

    async def look(storage: Storage) -> None:
        assert isinstance(storage, PostgresStorage)
        await storage.database.fetchval("select count(*) from item")

    opened = [await app.storage_apart(name, "databases", look) for name in ("one", "two")]
    databases = [one.database for one in opened if isinstance(one, PostgresStorage)]
    checks = [app._checks[f"opening {name}"] for name in ("one", "two")]
    await _start(server)
    for check in checks:
        await until(check.ask, lambda found: "not used: STYLOBATE_SHOP_DATABASES: " in found.details)
    assert await app.changes.take(_settings(server, "second")) == ""
    for check in checks:
        await until(check.ask, lambda found: found.status is Status.HEALTHY)
    async with asyncio.TaskGroup() as group:
        done, is_over = [0, 0], asyncio.Event()
        for number, database in enumerate(databases):
            group.create_task(_load(database, done, number, is_over))
        await until(lambda: min(done) > 5)
        await _as_owner(server, "alter role app password 'third'")
        for database in databases:
            await database.renew()  # as a pool does by itself in time
        await until(lambda: len(refused) > 1)
        assert await app.changes.take(_settings(server, "third")) == ""
        seen = list(done)
        await until(lambda: all(now > then + 5 for now, then in zip(done, seen, strict=True)))
        said = await app.changes.take(_settings(server, "third", "one"))
        assert said.endswith("STYLOBATE_SHOP_DATABASES: databases are added and taken away at a restart")
        is_over.set()
    await app.close()


async def _load(database: DatabaseManager, done: list[int], number: int, is_over: asyncio.Event) -> None:
    """Ask without a pause; a statement that fails fails the test."""
    while not is_over.is_set():
        await asyncio.gather(*(database.fetchval("select pg_sleep(0.001)") for _ in range(3)))
        done[number] += 1
