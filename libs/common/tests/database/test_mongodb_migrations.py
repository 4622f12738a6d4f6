"""Migrations of MongoDB: applied once, in order, by one process at a time; done again where one was killed half-way."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from stylobate.database.migrations import MigrationError, MigrationSet
from stylobate.database.mongodb import MongoManager, MongoMigrator
from stylobate.testing.mongodb import MongoDatabases

ONE = [{"create": "cart"}, {"insert": "cart", "documents": [{"_id": "first", "n": {"$numberLong": "1"}}]}]
TWO = [{"createIndexes": "cart", "indexes": [{"key": {"n": 1}, "name": "cart_n", "unique": True}]}]


def put(folder: Path, name: str, commands: Any) -> MigrationSet:
    """Write a file of a set."""
    (folder / "mongodb").mkdir(exist_ok=True)
    (folder / "mongodb" / name).write_text(json.dumps(commands))
    return MigrationSet("carts", folder)


@pytest.fixture
async def url(mongo_databases: MongoDatabases) -> Any:
    """Give an address with nothing in it."""
    async with mongo_databases.empty() as made:
        yield made


async def test_pending_files_are_applied_once(url: str, tmp_path: Path) -> None:
    """By several processes at once too; a later file comes later."""
    part = put(tmp_path, "0001_cart.json", ONE)
    assert await MongoMigrator(url, "shop", [part]).pending() == ["carts/0001_cart"]
    done = await asyncio.gather(*(MongoMigrator(url, "shop", [part]).upgrade() for _ in range(3)))
    assert sorted(done) == [[], [], ["carts/0001_cart"]]
    put(tmp_path, "0002_index.json", TWO)
    assert await MongoMigrator(url, "shop", [part]).upgrade() == ["carts/0002_index"]
    assert await MongoMigrator(url, "shop", [part]).pending() == []
    async with MongoManager.open(url, service="shop") as database:
        assert await database.find("cart", {}) == [{"_id": "first", "n": 1}]


async def test_what_was_half_done_is_done_again(url: str, tmp_path: Path) -> None:
    """A file whose note was never made runs a second time over what it made, and harms nothing."""
    part = put(tmp_path, "0001_cart.json", [*ONE, *TWO])
    await MongoMigrator(url, "shop", [part]).upgrade()
    async with MongoManager.open(url, service="shop") as database:
        await database.update_one("cart", {"_id": "first"}, {"$set": {"n": 5}})
        await database.delete("migration", {})
        assert await MongoMigrator(url, "shop", [part]).upgrade() == ["carts/0001_cart"]
        assert await database.find("cart", {}) == [{"_id": "first", "n": 5}]


async def test_what_does_not_fit_is_refused(url: str, tmp_path: Path) -> None:
    """An applied file that changed, one that comes before, a name that is none, a command that may not come twice."""
    part = put(tmp_path, "0002_cart.json", ONE)
    await MongoMigrator(url, "shop", [part]).upgrade()
    put(tmp_path, "0002_cart.json", [*ONE, {"create": "more"}])
    with pytest.raises(MigrationError, match="carts/0002_cart was changed after it was applied"):
        await MongoMigrator(url, "shop", [part]).pending()
    put(tmp_path, "0002_cart.json", ONE)
    put(tmp_path, "0001_before.json", ONE)
    with pytest.raises(MigrationError, match="carts/0001_before comes before carts/0002"):
        await MongoMigrator(url, "shop", [part]).upgrade()
    (tmp_path / "mongodb" / "0001_before.json").unlink()
    put(tmp_path, "0003_drop.json", [{"drop": "cart"}])
    with pytest.raises(MigrationError, match="carts/0003_drop: a command begins with one of"):
        await MongoMigrator(url, "shop", [part]).upgrade()
    put(tmp_path, "0003_drop.json", "no list")
    with pytest.raises(MigrationError, match="is not a list of commands"):
        await MongoMigrator(url, "shop", [part]).upgrade()
    (tmp_path / "mongodb" / "0003_drop.json").rename(tmp_path / "mongodb" / "third.json")
    with pytest.raises(MigrationError, match=r"third\.json is not named like"):
        await MongoMigrator(url, "shop", [part]).upgrade()
