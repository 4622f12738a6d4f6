"""A restore that is killed at any point: nothing starts on what it has left, and it is run again."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from stylobate.testing import commands
from stylobate.testing.databases import Databases
from stylobate.testing.until import until

from .test_database_commands import run

UNFINISHED = "a restore was begun in this database, and did not come to its end"
SCHEMAS = ["actions", "auth", "ratelimit", "realtime", "state"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of the backup, which is taken once."""
    return tmp_path_factory.mktemp("backups")


@pytest_asyncio.fixture
async def backup(databases: Databases, stylobate: Any, folder: Path) -> Path:
    """Give a backup of a platform in which one thing happened."""
    if (folder / "backup").exists():
        return folder / "backup"
    async with databases.empty() as url:
        made = await run(stylobate, url, "db", "upgrade")
        assert made.returncode == 0, made.stderr
        connection = await asyncpg.connect(url)
        await connection.execute("update state.outbox_head set number = 5 where partition = 3")
        await connection.close()
        taken = await run(stylobate, url, "backup", str(folder / "backup"))
        assert taken.returncode == 0, taken.stderr
    return folder / "backup"


async def schemas(connection: asyncpg.Connection) -> list[str]:
    """Return the schemas of the platform, and the mark."""
    found = await connection.fetch("select nspname from pg_namespace where nspname = any ($1)", [*SCHEMAS, "stylobate_restore"])
    return sorted(row["nspname"] for row in found)


LOCK = "select pg_advisory_lock(hashtextextended('stylobate.migrations.auth', 0))"
WAITS = "select exists (select from pg_stat_activity where $1 = any (pg_blocking_pids(pid)))"


def started(url: str, backup: Path) -> commands.Command:
    """Begin a restore."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("STYLOBATE_")}
    with (backup.parent / "restore.out").open("wb") as output, Path(os.devnull).open("rb") as nothing:
        streams = (nothing, output, output)
        environ["STYLOBATE_DATABASE_URL"] = url
        return commands.start("restore", str(backup), folder=backup.parent, environ=environ, streams=streams)


async def killed(url: str, backup: Path, looking: asyncpg.Connection) -> None:
    """Begin a restore, and kill -9 it while it waits to make the schema of auth."""
    first, second = await asyncpg.connect(url), await asyncpg.connect(url)
    await first.execute(LOCK)
    command = started(url, backup)
    await until(lambda: looking.fetchval(WAITS, first.get_server_pid()), within_s=60)
    behind = asyncio.create_task(second.execute(LOCK))  # the restore waits twice: until nobody migrates, and to do so itself
    await until(lambda: looking.fetchval("select pg_blocking_pids($1) <> '{}'", second.get_server_pid()), within_s=60)
    await first.close()
    await behind
    await until(lambda: looking.fetchval(WAITS, second.get_server_pid()), within_s=60)
    command.send_signal(signal.SIGKILL)
    assert await asyncio.to_thread(command.wait, 30) == -signal.SIGKILL
    await second.close()
    idle = "select not exists (select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid())"
    await until(lambda: looking.fetchval(idle), within_s=60)


async def test_what_somebody_made_meanwhile_is_left_alone(databases: Databases, backup: Path) -> None:
    """Who began to make a schema before there was a mark to see ends first, and nothing is put there, nor removed."""
    async with databases.empty() as url:
        upgrading, looking = await asyncpg.connect(url), await asyncpg.connect(url)
        await upgrading.execute(LOCK)
        command = started(url, backup)
        await until(lambda: looking.fetchval(WAITS, upgrading.get_server_pid()), within_s=60)
        await upgrading.execute("create schema auth")
        await upgrading.close()
        assert await asyncio.to_thread(command.wait, 30) == 2
        assert "has the schema auth already" in (backup.parent / "restore.out").read_text(encoding="utf-8")
        assert await schemas(looking) == ["auth"]
        await looking.close()


async def test_a_restore_that_was_killed_is_run_again(databases: Databases, stylobate: Any, backup: Path) -> None:
    """In the middle of the schemas, and between the marks at the end; until then nothing takes the databases for whole."""
    async with databases.empty() as url:
        looking = await asyncpg.connect(url)
        await killed(url, backup, looking)
        assert "stylobate_restore" in await schemas(looking)
        assert len(await schemas(looking)) > 1, "some of it is there"
        for command in (("db", "upgrade"), ("db", "status"), ("backup", str(backup.parent / "other"))):
            refused = await run(stylobate, url, *command)
            assert (refused.returncode, UNFINISHED in refused.stderr, refused.stderr.count("\n")) == (2, True, 1), refused.stderr
        restored = await run(stylobate, url, "restore", str(backup))
        assert restored.returncode == 0, restored.stderr
        assert "did not come to its end; what it has left is removed" in restored.stdout
        assert await schemas(looking) == SCHEMAS
        assert await looking.fetchval("select number from state.outbox_head where partition = 3") == 5
        assert (await run(stylobate, url, "db", "status")).returncode == 0
        refused = await run(stylobate, url, "restore", str(backup))
        assert (refused.returncode, "has the schema" in refused.stderr) == (2, True), "what is whole is never removed"
        await looking.close()


async def test_what_was_whole_is_only_unmarked(databases: Databases, stylobate: Any, backup: Path) -> None:
    """Killed when everything was put and said to be, it removes nothing when it is run again; and two do not meet."""
    async with databases.empty() as url:
        connection = await asyncpg.connect(url)
        await connection.execute("select pg_advisory_lock(hashtextextended('stylobate.restore', 0))")
        refused = await run(stylobate, url, "restore", str(backup))
        assert (refused.returncode, "another `stylobate restore` is at work" in refused.stderr) == (2, True), refused.stderr
        await connection.execute("select pg_advisory_unlock_all()")
        assert (await run(stylobate, url, "restore", str(backup))).returncode == 0
        await connection.execute("create schema stylobate_restore")
        await connection.execute(
            "create table stylobate_restore.mark as select 'auth' as service, 'another' as backup, true as is_whole"
        )
        await connection.execute("update state.outbox_head set number = 6 where partition = 3")
        refused = await run(stylobate, url, "restore", str(backup))
        assert (refused.returncode, "a restore of another backup" in refused.stderr) == (2, True), refused.stderr
        seal = (backup / "manifest.json").read_text(encoding="utf-8").split('"seal": "')[1].split('"')[0]
        await connection.execute("update stylobate_restore.mark set backup = $1", seal)
        restored = await run(stylobate, url, "restore", str(backup))
        assert (restored.returncode, restored.stdout) == (0, "restored; start the services\n"), restored.stderr
        assert await schemas(connection) == SCHEMAS
        assert await connection.fetchval("select number from state.outbox_head where partition = 3") == 6
        await connection.close()
