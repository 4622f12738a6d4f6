"""`stylobate backup` and `restore` on MongoDB: one moment of all databases, put as it was, and never half of it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from bson import Binary, Int64
from pymongo import AsyncMongoClient, MongoClient
from stylobate.database import MigrationError
from stylobate.database.mongodb import DuplicateError, MongoManager, copying
from stylobate.database.mongodb.address import database_of
from stylobate.database.mongodb.copying import MongoMoments
from stylobate.database.mongodb.filling import adding
from stylobate.launcher.backup.manifest import read
from stylobate.outbox.mongodb import MongoEventLog
from stylobate.testing import commands
from stylobate.testing.databases import Databases
from stylobate.testing.mongodb import MongoDatabases
from stylobate.testing.until import until

from .test_database_commands import run

KEY = {"STYLOBATE_BACKUP_KEY": "k" * 32}
SERVICES = ("actions", "auth", "ratelimit", "realtime", "state")
UNFINISHED = "a restore was begun in this database, and did not come to its end"
VALIDATOR = {"known": {"$gte": Int64(3)}, "_id.namespace": {"$nin": ["moved"]}}
OBJECT = {"known": Int64(3), "data": '{"b":1,"a":2}', "first_version": 1, "first": Int64(1), "raw": Binary(b"\x00\xff")}
CHANGES = {"outbox_epoch", "outbox_head", "migration", "migration_lock", "signal"}
"""Collections that are another after a restore, or are not copied."""


def everything(url: str) -> dict[str, Any]:
    """Return what every service has: documents, options and indexes of its collections."""
    found: dict[str, Any] = {}
    with MongoClient[dict[str, Any]](url, tz_aware=True) as client:
        for service in SERVICES:
            database = client.get_database(database_of(url, service))
            for one in database.list_collections():
                if one["name"] not in CHANGES:
                    held = database[one["name"]]
                    indexes = sorted(held.index_information().items())
                    found[f"{service}.{one['name']}"] = (sorted(held.find({}), key=str), one["options"], indexes)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of the backup, which is taken once."""
    return tmp_path_factory.mktemp("backups")


@pytest.fixture(scope="module")
def before() -> dict[str, Any]:
    """Give what was backed up."""
    return {}


@pytest_asyncio.fixture
async def backup(mongo_databases: MongoDatabases, stylobate: Any, folder: Path, before: dict[str, Any]) -> Path:
    """Give a backup of a state service that has one object, one owner's key, and a validator that it set by itself."""
    if (folder / "backup").exists():
        return folder / "backup"
    async with mongo_databases.empty() as url:
        made = await run(stylobate, url, "db", "upgrade")
        assert made.returncode == 0, made.stderr
        async with MongoManager.open(url, service="state") as state:
            await state.command({"collMod": "state", "validator": VALIDATOR})
            await state.insert("state", [{"_id": {"tenant": "default", "namespace": "n", "key": "k"}, **OBJECT}])
            await state.insert("owner_key", [{"_id": "o1", "purpose": "p", "tenant": "t", "owner": "ada", "sealed": b"a"}])
        await refused(stylobate, url, "there are 1 keys of owners", "backup", str(folder / "backup"), **KEY)
        taken = await run(stylobate, url, "backup", str(folder / "backup"), "--owner-keys", str(folder / "keys"), **KEY)
        assert taken.returncode == 0, taken.stderr
        before |= everything(url)
    return folder / "backup"


async def refused(stylobate: Any, url: str, said: str, *arguments: str, **environ: str) -> None:
    """Make sure that a command says one line, and why."""
    done = await run(stylobate, url, *arguments, **environ)
    assert (done.returncode, done.stderr.count("\n"), said in done.stderr) == (2, 1, True), done.stderr


async def test_what_is_put_is_what_was_taken(
    mongo_databases: MongoDatabases, stylobate: Any, backup: Path, before: dict[str, Any]
) -> None:
    """Documents, types, validators and indexes; a log begins an epoch; and not twice."""
    schemas = read(backup, KEY["STYLOBATE_BACKUP_KEY"]).schemas
    assert "owner_key" not in {table.name for schema in schemas for table in schema.tables}
    restore = ("restore", str(backup), "--owner-keys", str(backup.parent / "keys"))
    async with mongo_databases.empty() as url:
        await refused(stylobate, url, "name their file with --owner-keys FILE", *restore[:2], **KEY)
        restored = await run(stylobate, url, *restore, **KEY)
        assert restored.returncode == 0, restored.stderr
        after = everything(url)
        assert sorted(after) == sorted(before)
        for name, held in before.items():
            assert after[name] == held, name
        assert before["state.state"][1]["validator"] == VALIDATOR
        async with MongoManager.open(url, service="state") as state:
            epoch = (await MongoEventLog(state, "state").head()).epoch
        assert f"state: epoch {epoch} has begun" in restored.stdout
        assert (await run(stylobate, url, "db", "status")).returncode == 0
        await refused(stylobate, url, "a backup is put into an empty database", *restore, **KEY)


async def test_it_goes_back_into_its_own_kind_only(
    mongo_databases: MongoDatabases, databases: Databases, stylobate: Any, backup: Path, tmp_path: Path
) -> None:
    """One line each way, and nothing is written."""
    restore = ("restore", str(backup), "--owner-keys", str(backup.parent / "keys"))
    async with databases.empty() as on_postgres, mongo_databases.empty() as url:
        assert read(backup, KEY["STYLOBATE_BACKUP_KEY"]).format == 2
        await refused(stylobate, on_postgres, "in MongoDB, and the settings name PostgreSQL", *restore, **KEY)
        assert (await run(stylobate, on_postgres, "db", "upgrade")).returncode == 0
        taken = await run(stylobate, on_postgres, "backup", str(tmp_path / "other"))
        assert taken.returncode == 0, taken.stderr
        assert read(tmp_path / "other", "").format == 1
        await refused(stylobate, url, "in PostgreSQL, and the settings name MongoDB", "restore", str(tmp_path / "other"))
        assert everything(url) == {}


@pytest.mark.soak  # half a minute until the server lets go of what the killed one held
async def test_a_restore_that_was_killed_is_run_again(
    mongo_databases: MongoDatabases, stylobate: Any, backup: Path, before: dict[str, Any]
) -> None:
    """It is killed when some services are there; until it is run again nothing takes the databases for whole."""
    restore = ("restore", str(backup), "--owner-keys", str(backup.parent / "keys"))
    async with mongo_databases.empty() as url, looking(url, "auth") as auth, looking(url, "actions") as actions:
        forever = {"_id": "lock", "holder": "somebody", "until": (await auth.now()).replace(year=9000)}
        over = {"$set": {"until": forever["until"].replace(year=1990)}}

        async def held() -> bool:
            with suppress(DuplicateError):
                await auth.insert("migration_lock", [forever])
                return True
            return False

        assert await held()
        command = started(backup.parent, url, *restore)
        await until(lambda: auth.find_one("stylobate_restore", {"_id": "mark"}), within_s=60)
        await auth.update_one("migration_lock", {"_id": "lock"}, over)
        await until(held, within_s=60)  # the restore waits twice: until nobody migrates, and to do so itself
        await until(lambda: actions.find_one("migration", {}), within_s=60)
        command.send_signal(signal.SIGKILL)
        assert await asyncio.to_thread(command.wait, 30) == -signal.SIGKILL
        for arguments in (("db", "upgrade"), ("db", "status"), ("backup", str(backup.parent / "other"))):
            await refused(stylobate, url, UNFINISHED, *arguments)
        await refused(stylobate, url, "another `stylobate restore` is at work", *restore, **KEY)
        await actions.update_one("stylobate_restore", {"_id": "lock"}, over)  # its half minute is over
        await auth.update_one("migration_lock", {"_id": "lock"}, over)
        restored = await run(stylobate, url, *restore, **KEY)
        assert restored.returncode == 0, restored.stderr
        assert "did not come to its end; what it has left is removed" in restored.stdout
        assert sorted(everything(url)) == sorted(before), "and no mark"


def started(folder: Path, url: str, *arguments: str) -> commands.Command:
    """Begin a command."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("STYLOBATE_")}
    with (folder / "output").open("ab") as output, Path(os.devnull).open("rb") as nothing:
        environ |= {**KEY, "STYLOBATE_DATABASE_URL": url}
        return commands.start(*arguments, folder=folder, environ=environ, streams=(nothing, output, output))


def looking(url: str, service: str) -> Any:
    """Return what opens a service's database."""
    return MongoManager.open(url, service=service, pool_size=2)


@pytest_asyncio.fixture
async def url(mongo_databases: MongoDatabases) -> AsyncIterator[str]:
    """Give an empty place."""
    async with mongo_databases.empty() as made:
        yield made


async def test_every_database_is_read_at_one_moment(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several URLs and services, whenever it is read, in however many pieces: what is written afterwards is in none of it."""
    monkeypatch.setattr(copying, "SOME", 1)
    async with looking(url, "a") as one, looking(url, "b") as two:
        for service in (one, two):
            await service.insert("migration", [{"_id": {"set": "x", "number": 1}, "checksum": "c"}])
            await service.insert("thing", [{"_id": 1}, {"_id": 3}])
        moments = MongoMoments()
        async with moments.snapshot(url, "a") as first:
            for service in (one, two):
                await service.insert("thing", [{"_id": 2}])
            async with moments.snapshot(f"{url}&appName=other", "b") as second:
                for moment, service in ((first, "a"), (first, "b"), (second, "b")):
                    assert await moment.enter(service, use_role=False)
                    assert list((await moment.contents(service)).tables) == ["thing"]
                    assert await moment.read("thing", (), nowhere) == 2


async def nowhere(data: bytes) -> None:
    """Take octets."""


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (b"\x05\x00\x00\x00\x00" * 2 + b"\x05\x00", "end too early"),
        (b"\x00" * 8, "are none"),
        (b"\x05\x00\x00\x00\x01", "are none"),
    ],
)
async def test_what_is_no_document_is_refused(url: str, file: bytes, said: str) -> None:
    """By a line of ours, in whichever pieces it comes."""

    async def pieces() -> AsyncIterator[bytes]:
        for octet in file:
            yield bytes((octet,))

    async with adding(url, "a") as into:
        with pytest.raises(MigrationError, match=said):
            await into.put("thing", (), pieces())


async def test_a_moment_that_the_server_has_let_go_is_one_line(url: str) -> None:
    """Which says what to raise: whoever reads for longer than the server keeps a moment cannot have it back."""
    window = "minSnapshotHistoryWindowInSeconds"
    async with looking(url, "a") as database, AsyncMongoClient[dict[str, Any]](url) as client:
        await database.insert("thing", [{"_id": 0}])
        await database.insert("migration", [{"_id": {"set": "x", "number": 1}, "checksum": "c"}])
        kept = (await client.admin.command({"setParameter": 1, window: 0}))["was"]
        try:
            async with MongoMoments().snapshot(url, "a") as moment:
                assert await moment.enter("a", use_role=False)

                async def said() -> str:
                    await database.update_one("thing", {"_id": 0}, {"$inc": {"n": 1}})
                    try:
                        await moment.read("thing", (), nowhere)
                    except MigrationError as error:
                        return str(error)
                    return ""

                assert f"raise its parameter {window} (300 unless it is set)" in await until(said)
        finally:
            await client.admin.command({"setParameter": 1, window: kept})
