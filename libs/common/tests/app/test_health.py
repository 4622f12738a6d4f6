"""What a service says of itself before and while it serves."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from stylobate.app.manager import AppManager
from stylobate.config import Environment, Settings
from stylobate.database import MigrationSet, Migrator
from stylobate.health import Health, Status
from stylobate.services import ServiceSpec
from stylobate.testing.databases import Databases
from stylobate.testing.until import until


def _app(build: Any, settings: Settings, *sets: MigrationSet) -> AppManager:
    spec = ServiceSpec(name="shop", settings=Settings, build=build, migrations=sets)
    return AppManager(cast("Any", SimpleNamespace(listeners=None)), spec, settings, cast("Any", None))


async def test_a_service_that_is_behind_waits_unready_and_goes_on_once_somebody_migrated(databases: Databases, tmp_path: Any):
    """Processes may start before the migration: they name what is pending, and need no restart afterwards."""
    (tmp_path / "0001_create.sql").write_text("create table item (id int primary key);")
    sets = MigrationSet("shop", tmp_path)
    async with databases.empty() as url:
        settings = Settings(environment=Environment.PRODUCTION, database_url=url)

        async def build(app: AppManager, _settings: Settings) -> None:
            await app.database()

        app = _app(build, settings, sets)
        starting = asyncio.create_task(app.start())
        await until(app.health, lambda found: "behind on migrations: shop/0001_create" in found.details, within_s=60)
        assert not app.is_ready
        await Migrator(url, "shop", [sets]).upgrade()
        async with asyncio.timeout(60):
            await starting
        assert app.is_ready
        assert (await app.health()).status is Status.HEALTHY
        await app.close()


async def test_checks_are_asked_side_by_side():
    """Two parts that hang until both were asked answer: so parts that are slow cost their time once, not in turn."""
    both = asyncio.Barrier(2)

    async def slow() -> Health:
        await both.wait()
        return Health(Status.DEGRADED, "slow")

    async def build(app: AppManager, _settings: Settings) -> None:
        app.check("one", slow)
        app.check("two", slow)

    app = _app(build, Settings())
    await app.start()
    async with asyncio.timeout(60):
        health = await app.health()
    assert (health.status, health.details) == (Status.DEGRADED, "one: slow; two: slow")
    await app.close()


async def test_a_schema_that_is_not_opened_yet_is_made_where_the_database_answers(databases: Databases, tmp_path: Any):
    """In development a service gets a schema that it declares and does not use, and starts without the database all the same."""
    (tmp_path / "0001_create.sql").write_text("create table item (id int primary key);")
    sets = MigrationSet("shop", tmp_path)

    async def build(_app: AppManager, _settings: Settings) -> None: ...

    async with databases.empty() as url:
        for address in ("postgresql://stylobate@127.0.0.1:1/stylobate", url):
            app = _app(build, Settings(database_url=address), sets)
            await app.start()
            await app.wait_ready()
            assert app.is_ready
            assert (await app.health()).status is Status.HEALTHY
            await app.close()
        assert await Migrator(url, "shop", [sets]).pending() == []
