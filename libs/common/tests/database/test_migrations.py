"""Migrations on a real server."""

import asyncio
from functools import partial

import asyncpg
import pytest
from stylobate.database import DatabaseManager, MigrationError, MigrationSet, Migrator
from stylobate.testing.databases import Databases
from stylobate.testing.until import until

WAITS = "select exists (select from pg_locks where not granted and pg_backend_pid() = any (pg_blocking_pids(pid)))"
"""Not of `pg_stat_activity`, which a transaction sees as it was at its first look."""


@pytest.fixture
async def url(databases: Databases):
    """Give the address of a database on which nothing was migrated."""
    async with databases.empty() as address:
        yield address


@pytest.fixture
def folder(tmp_path):
    """Give a folder with two migrations."""
    (tmp_path / "0001_create.sql").write_text("create table item (id int primary key);\ncreate index on item (id);")
    (tmp_path / "0002_name.sql").write_text("alter table item add column name text not null default '';")
    return tmp_path


async def test_upgrade_applies_in_order_and_once(url, folder):
    """Everything pending is applied in order, and nothing twice."""
    migrator = Migrator(url, "shop", [MigrationSet("shop", folder)])
    assert await migrator.pending() == ["shop/0001_create", "shop/0002_name"]
    assert await migrator.upgrade() == ["shop/0001_create", "shop/0002_name"]
    assert await migrator.pending() == await migrator.upgrade() == []
    async with DatabaseManager.open(url, service="shop") as database:
        assert await database.fetch("select id, name from item") == []
        owner = "select tableowner from pg_tables where schemaname = 'shop' and tablename = 'item'"
        assert await database.fetchval(owner) == "stylobate_shop"


async def test_processes_may_upgrade_at_once(url, folder):
    """Of many processes that start together each file is applied by exactly one, also for several services."""
    parts = [MigrationSet("shop", folder)]
    applied = await asyncio.gather(*(Migrator(url, name, parts).upgrade() for name in ["one", "two"] * 4))
    assert sorted(name for names in applied for name in names) == ["shop/0001_create"] * 2 + ["shop/0002_name"] * 2


async def test_who_waited_while_a_restore_began_does_nothing(url, folder):
    """Nor does who saw what the restore has made take it for whole: the mark is looked for after what it says something about."""
    migrator = Migrator(url, "shop", [MigrationSet("shop", folder)])
    for lock, ask in (
        ("select pg_advisory_xact_lock(hashtextextended('stylobate.migrations.shop', 0))", migrator.upgrade),
        ("lock table shop.migration", migrator.pending),
    ):
        restoring = await asyncpg.connect(url)
        async with restoring.transaction():
            await restoring.execute(lock)
            asking = asyncio.create_task(ask())
            await until(partial(restoring.fetchval, WAITS), within_s=30)
            await restoring.execute("create schema stylobate_restore")
        with pytest.raises(MigrationError, match="did not come to its end"):
            await asking
        await restoring.execute("drop schema stylobate_restore")
        await restoring.close()
        await migrator.upgrade()


async def test_one_service_cannot_touch_another(url, folder):
    """The role of a service has no right in another's schema."""
    for name in ("one", "two"):
        await Migrator(url, name, [MigrationSet("shop", folder)]).upgrade()
    async with DatabaseManager.open(url, service="one") as database:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await database.fetch("select id from two.item")


async def test_without_roles_the_user_owns_everything(url, folder):
    """Where the user of the URL may not make roles, the platform works without."""
    await Migrator(url, "shop", [MigrationSet("shop", folder)], use_role=False).upgrade()
    async with DatabaseManager.open(url, service="shop", use_role=False) as database:
        await database.execute("insert into item values (1)")
        assert await database.fetchval("select current_user::text") == "stylobate"


async def test_a_changed_file_is_refused(url, folder):
    """An applied file that was edited afterwards is named, by upgrade and by pending."""
    migrator = Migrator(url, "shop", [MigrationSet("shop", folder)])
    await migrator.upgrade()
    (folder / "0001_create.sql").write_text("create table other (id int);")
    for call in (migrator.upgrade, migrator.pending):
        with pytest.raises(MigrationError, match="shop/0001_create was changed"):
            await call()


async def test_line_ends_are_no_change(url, folder):
    """The same file checked out on another system is the same."""
    migrator = Migrator(url, "shop", [MigrationSet("shop", folder)])
    await migrator.upgrade()
    text = (folder / "0001_create.sql").read_text()
    (folder / "0001_create.sql").write_bytes(text.replace("\n", "\r\n").encode())
    assert await migrator.pending() == []


async def test_a_failing_file_leaves_nothing_behind(url, folder):
    """A file is applied whole or not at all; what came before stays; corrected, it applies."""
    (folder / "0003_bad.sql").write_text("create table half (id int); select no_such_function();")
    migrator = Migrator(url, "shop", [MigrationSet("shop", folder)])
    with pytest.raises(asyncpg.UndefinedFunctionError):
        await migrator.upgrade()
    assert await migrator.pending() == ["shop/0003_bad"]
    (folder / "0003_bad.sql").write_text("create table half (id int);")
    assert await migrator.upgrade() == ["shop/0003_bad"]


async def test_an_older_release_runs_on_a_newer_schema(url, folder):
    """Files that were applied and are unknown to this release are not an error: rolling back a deployment works."""
    await Migrator(url, "shop", [MigrationSet("shop", folder)]).upgrade()
    (folder / "0002_name.sql").unlink()
    assert await Migrator(url, "shop", [MigrationSet("shop", folder)]).upgrade() == []


async def test_a_file_that_comes_too_late_is_refused(url, folder):
    """A number below the highest applied one would run in another order on every machine."""
    (folder / "0002_name.sql").rename(folder / "0003_name.sql")
    migrator = Migrator(url, "shop", [MigrationSet("shop", folder)])
    await migrator.upgrade()
    (folder / "0002_late.sql").write_text("create table late (id int);")
    with pytest.raises(MigrationError, match="shop/0002_late comes before shop/0003"):
        await migrator.upgrade()


@pytest.mark.parametrize(("name", "says"), [("0001_again.sql", "comes twice"), ("1_short.sql", "not named like")])
def test_bad_file_names_are_refused(folder, name, says):
    """A file that would be forgotten or shadowed is named."""
    (folder / name).write_text("select 1")
    with pytest.raises(MigrationError, match=says):
        MigrationSet("shop", folder).load()


@pytest.mark.parametrize("service", ["", "Shop", 'x"; drop table y; --', "a-b"])
def test_a_service_name_is_a_plain_identifier(service):
    """Nothing else ever gets into a statement as a name."""
    with pytest.raises(ValueError, match="service name"):
        Migrator("postgresql:///x", service, [])
