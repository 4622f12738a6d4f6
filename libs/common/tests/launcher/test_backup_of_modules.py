"""`stylobate backup` and `restore` of what modules keep in databases of their own, on either kind of server."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from pymongo import MongoClient
from stylobate.database.mongodb.address import database_of
from stylobate.launcher.backup.manifest import WITH_MODULES, read
from stylobate.testing.databases import Databases
from stylobate.testing.mongodb import MongoDatabases

from .test_database_commands import run

KEY = {"STYLOBATE_BACKUP_KEY": "k" * 32}
LEDGER = """
create table "order" (id bigserial primary key, note text);
create table entry (order_id bigint not null references "order", amount int not null);
create table total (amount bigint not null, counted timestamptz not null default now());
create function add_up() returns trigger language plpgsql as
    'begin insert into total (amount) values (new.amount); return new; end';
create trigger add_up after insert on entry for each row execute function add_up();
"""
CARTS = """[
  {"create": "cart", "validator": {"$jsonSchema": {"bsonType": "object", "required": ["items"]}}},
  {"create": "wanted", "viewOn": "cart", "pipeline": [{"$project": {"items": 1}}]}
]"""


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """Give a folder of two modules, one of each kind, and one that keeps nothing of its own in migrations."""
    folder = tmp_path / "modules"
    for name, kind, file, text in (
        ("ledger", "postgresql", "0001_entries.sql", LEDGER),
        ("carts", "mongodb", "mongodb/0001_carts.json", CARTS),
        ("notes", "mongodb", "", ""),
    ):
        path = folder / name / "migrations" / file
        (path if not file else path.parent).mkdir(parents=True)
        if file:
            path.write_text(text)
        (folder / name / "module.yaml").write_text(f"name: {name}\ndatabase: {kind}\n")
    shutil.rmtree(folder / "notes" / "migrations")
    return folder


@pytest_asyncio.fixture
async def urls(databases: Databases, mongo_databases: MongoDatabases) -> AsyncIterator[tuple[tuple[str, str], tuple[str, str]]]:
    """Give two places, each a PostgreSQL and a MongoDB."""
    async with databases.empty() as one, databases.empty() as other, mongo_databases.empty() as a, mongo_databases.empty() as b:
        yield (one, a), (other, b)


class Place:
    """A platform's databases, and what the modules have there."""

    def __init__(self, stylobate: Any, urls: tuple[str, str], modules: Path) -> None:
        self._stylobate = stylobate
        self.url, self.on_mongodb = urls
        self.environ = {
            "STYLOBATE_MODULES": str(modules),
            "STYLOBATE_ACTIONS_MODULE_DATABASES": f"carts={self.on_mongodb} notes={self.on_mongodb}",
        }

    async def run(self, *arguments: str) -> Any:
        """Run a command there, which goes well."""
        done = await run(self._stylobate, self.url, *arguments, **self.environ, **KEY)
        assert done.returncode == 0, done.stderr
        return done.stdout

    async def refused(self, *arguments: str) -> str:
        """Run one that is refused in one line."""
        done = await run(self._stylobate, self.url, *arguments, **self.environ, **KEY)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        return str(done.stderr)

    async def work(self) -> None:
        """Do what the modules do."""
        async with ledger(self.url) as connection:
            await connection.execute("""insert into "order" (note) values ('oolong'); insert into entry values (1, 3), (1, 4)""")
        with MongoClient[dict[str, Any]](self.on_mongodb) as client:
            carts = client[database_of(self.on_mongodb, "module_carts")]
            carts["cart"].insert_one({"_id": "ada", "items": {"tea": "oolong"}})
            carts["of/every kind"].insert_one({"_id": 1})  # no migration made it
            carts["cart"].create_index([("items.tea", -1)], name="tea", unique=True)
            client[database_of(self.on_mongodb, "module_notes")]["note"].insert_one({"_id": 1})

    async def found(self) -> Any:
        """Return what they have."""
        async with ledger(self.url) as connection:
            tables = ('"order"', "entry", "total")
            rows = [[tuple(row) for row in await connection.fetch(f"select * from {name}")] for name in tables]
            owner = await connection.fetchval("select nspowner::regrole::text from pg_namespace where nspname = 'module_ledger'")
            following = await connection.fetchval("""insert into "order" (note) values ('next') returning id""")
            await connection.execute("""delete from "order" where note = 'next'""")
        with MongoClient[dict[str, Any]](self.on_mongodb, tz_aware=True) as client:
            held = {}
            for module in ("carts", "notes"):
                database = client[database_of(self.on_mongodb, f"module_{module}")]
                for one in database.list_collections(filter={"name": {"$nin": ["migration", "migration_lock", "signal"]}}):
                    indexes = database[one["name"]].index_information() if one["type"] == "collection" else None
                    held[one["name"]] = (one["options"], indexes, list(database[one["name"]].find({})))
        return rows, owner, following > 1, {name: held[name] for name in held if not name.startswith("system.")}


@asynccontextmanager
async def ledger(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Give a connection as the module on PostgreSQL has it."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("set role stylobate_module_ledger; set search_path to module_ledger")
        yield connection
    finally:
        await connection.close()


def octets(folder: str) -> bytes:
    """Return all that stands in a folder's files."""
    return b"".join(file.read_bytes() for file in Path(folder).iterdir())


async def test_what_modules_keep_is_taken_and_put(
    urls: tuple[tuple[str, str], tuple[str, str]], stylobate: Any, modules: Path, tmp_path: Path
) -> None:
    """Rows as they were, whom they belong to, and what no migration made; not seen by triggers a second time; encrypted.

    What is of a module that is not here, or has other files, is refused before anything is written, and left out if one says so.
    """
    backup = str(tmp_path / "backup")
    here, there = (Place(stylobate, one, modules) for one in urls)
    await here.run("db", "upgrade")
    await here.work()
    said = await here.run("backup", backup)
    for line in ("ledger: 3 tables, 5 rows", "carts: 2 tables, 2 rows", "notes: 1 tables, 1 rows"):
        assert f"the module {line}\n" in said
    assert read(Path(backup), KEY["STYLOBATE_BACKUP_KEY"]).format == WITH_MODULES
    assert b"oolong" not in octets(backup)
    before = await here.found()
    shutil.rmtree(modules / "notes")
    assert "data of the module notes in MongoDB, and no module of that name here" in await there.refused("restore", backup)
    assert "has no data of such a module" in await there.refused("restore", backup, "--without-module", "other")
    restore = ("restore", backup, "--without-module", "notes")
    file = modules / "ledger" / "migrations" / "0001_entries.sql"
    file.write_text("create table other (id int)")
    said = await there.refused(*restore)
    assert "the module ledger with the migration ledger/0001, which its files here do not have" in said
    file.write_text(LEDGER)
    restored = await there.run(*restore)
    assert ("the module ledger: 5 rows\n" in restored, "notes" in restored) == (True, False)
    after = await there.found()
    assert "note" not in after[-1]
    assert (*after[:-1], {**after[-1], "note": before[-1]["note"]}) == before


async def test_a_module_that_is_not_here_any_more_is_said(
    urls: tuple[tuple[str, str], tuple[str, str]], stylobate: Any, modules: Path, tmp_path: Path
) -> None:
    """By the backup, which goes on; what a module has that is only left out for a mistake in its files is in it."""
    here = Place(stylobate, urls[0], modules)
    await here.run("db", "upgrade")
    (modules / "carts" / "module.yaml").write_text("name: carts\ndatabase: mongodb\nbroken: yes\n")
    shutil.rmtree(modules / "ledger")
    said = await here.run("backup", str(tmp_path / "backup"))
    assert "module_ledger: of a module that is not here (STYLOBATE_MODULES); it is not in the backup\n" in said
    assert "the module carts: 1 tables, 0 rows\n" in said
