"""A schema's contents, read at one moment and put into another database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from stylobate.database import DatabaseManager, MigrationError, MigrationSet, Migrator
from stylobate.database.copying import SchemaContents, drop_schemas, schemas_there, snapshot
from stylobate.database.filling import filling
from stylobate.testing.databases import Databases

STRANGE = "a\tb\\n\n\\.\n\N{SNOWMAN}"


@pytest.fixture
async def urls(databases: Databases) -> AsyncIterator[tuple[str, str]]:
    """Give two databases on which nothing was migrated."""
    async with databases.empty() as one, databases.empty() as other:
        yield one, other


@pytest.fixture
def sets(tmp_path: Path) -> list[MigrationSet]:
    """Give a set of migrations whose tables refer to each other, with a row that they bring."""
    (tmp_path / "0001_create.sql").write_text(
        "create table z_owner (id bigserial primary key, name text);"
        "create table a_thing (id int primary key, owner bigint not null references z_owner,"
        " twice int generated always as (id * 2) stored, made timestamptz not null default now());"
        "insert into z_owner (name) values ('nobody');"
    )
    return [MigrationSet("shop", tmp_path)]


async def read(url: str) -> tuple[SchemaContents, dict[str, bytes]]:
    """Return what the schema has, with the rows of each table."""
    async with snapshot(url) as moment:
        assert await moment.enter("shop", use_role=True)
        contents, rows = await moment.contents("shop"), {}
        async with DatabaseManager.open(url, service="shop") as database:  # who writes meanwhile is not in the moment
            await database.execute("insert into z_owner (name) values ('late')")
        for table, columns in contents.tables.items():
            held = bytearray()

            async def sink(data: bytes, held: bytearray = held) -> None:
                held += data

            await moment.read(table, columns, sink)
            rows[table] = bytes(held)
    return contents, rows


async def once(data: bytes) -> AsyncIterator[bytes]:
    """Yield octets."""
    yield data


async def test_what_is_read_is_put_elsewhere(urls: tuple[str, str], sets: list[MigrationSet]) -> None:
    """Every row and the sequence's place, of one moment, in place of what migrations bring, and under a newer schema."""
    one, other = urls
    await Migrator(one, "shop", sets).upgrade()
    async with DatabaseManager.open(one, service="shop") as database:
        owner = await database.fetchval("insert into z_owner (name) values ($1) returning id", STRANGE)
        await database.execute("insert into a_thing (id, owner) values (7, $1)", owner)
    contents, rows = await read(one)
    assert list(contents.tables) == ["z_owner", "a_thing"]
    (sets[0].folder / "0002_more.sql").write_text("alter table z_owner add column more text not null default 'new';")
    migrator = Migrator(other, "shop", sets)
    assert await migrator.upgrade({"shop": contents.migrations[-1][1]}) == ["shop/0001_create"]
    async with filling(other, "shop", use_role=True) as into:
        for table, columns in contents.tables.items():
            await into.put(table, columns, once(rows[table]))
        await into.continue_sequences(contents.sequences)
    assert await migrator.upgrade() == ["shop/0002_more"]
    async with DatabaseManager.open(other, service="shop") as database:
        assert [tuple(row) for row in await database.fetch("select name, more from z_owner order by id")] == [
            ("nobody", "new"),
            (STRANGE, "new"),
        ]
        assert await database.fetchval("select twice from a_thing") == 14
        assert await database.fetchval("insert into z_owner (name) values ('next') returning id") == owner + 1


async def test_all_or_nothing(urls: tuple[str, str], sets: list[MigrationSet]) -> None:
    """Rows that do not fit are named, and nothing of the others stays; a schema can be taken away again."""
    one, _ = urls
    await Migrator(one, "shop", sets).upgrade()

    async def fill() -> None:
        async with filling(one, "shop", use_role=True) as into:
            await into.put("z_owner", ["id", "name"], once(b"5\tada\n"))
            await into.put("a_thing", ["id", "owner"], once(b"1\t99\n"))

    with pytest.raises(MigrationError, match="the rows of a_thing do not fit"):
        await fill()
    async with DatabaseManager.open(one, service="shop") as database:
        assert await database.fetchval("select array_agg(name) from z_owner") == ["nobody"]
    assert await schemas_there(one, ["shop", "other"]) == ["shop"]
    await drop_schemas(one, ["shop"])
    assert await schemas_there(one, ["shop", "other"]) == []


async def test_nothing_that_a_schema_may_have_stands_in_the_way(urls: tuple[str, str], tmp_path: Path) -> None:
    """Tables that refer to each other, triggers, and views that are kept; afterwards each is as it was."""
    (tmp_path / "0001_create.sql").write_text(
        'create table "left" (id int primary key, other int);'
        'create table right_ (id int primary key, other int references "left" deferrable initially deferred);'
        'alter table "left" add constraint other foreign key (other) references right_;'
        'create materialized view counted as select count(*) from "left";'
        "create function refuse() returns trigger language plpgsql as 'begin raise exception ''seen''; end';"
        'create trigger refuse before insert on "left" for each row execute function refuse();'
        'alter table "left" enable always trigger refuse'
    )
    sets = [MigrationSet("shop", tmp_path)]
    for url in urls:
        await Migrator(url, "shop", sets).upgrade()
    async with filling(urls[1], "shop", use_role=True) as into:
        await into.put("left", ["id", "other"], once(b"1\t2\n"))
        await into.put("right_", ["id", "other"], once(b"2\t1\n"))
    aside = "select conname, pg_get_constraintdef(oid) from pg_constraint where connamespace = 'shop'::regnamespace order by 1"
    found = []
    for url in urls:
        async with DatabaseManager.open(url, service="shop") as database:
            found.append(
                (await database.fetch(aside), await database.fetchval("select tgenabled from pg_trigger where tgname = 'refuse'"))
            )
            counted = await database.fetchval("select count from counted")
    assert (found[0], counted) == (found[1], 1)

    async def fill() -> None:
        async with filling(urls[1], "shop", use_role=True) as into:
            await into.put("left", ["id", "other"], once(b"1\t3\n"))

    with pytest.raises(MigrationError, match='the rows do not fit: alter table "left" add constraint other'):
        await fill()
