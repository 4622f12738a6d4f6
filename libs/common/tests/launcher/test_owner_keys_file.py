"""The keys of owners stand in no backup, but in one file beside all of them, in which a destroyed key is no more."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest_asyncio
from stylobate.launcher.backup.owner_keys import claimed
from stylobate.testing.databases import Databases

from .test_database_commands import run

KEY = {"STYLOBATE_BACKUP_KEY": "k" * 32}
SECRET = "b0b5ecret"
ADD = "insert into state.owner_key values ($1, 'state/people', 'default', $2, 'd1', $3)"
ROWS = "select id, owner, encode(sealed, 'escape') as sealed from state.owner_key order by id"
DESTROY = "update state.owner_key set owner = null, sealed = null, destroyed_at = now() where owner = 'bob'"


@pytest_asyncio.fixture
async def url(databases: Databases, stylobate: Any) -> AsyncIterator[str]:
    """Give a database with the keys of two owners."""
    async with databases.empty() as made:
        assert (await run(stylobate, made, "db", "upgrade")).returncode == 0
        connection = await asyncpg.connect(made)
        await connection.executemany(ADD, [("o1", "ada", b"a"), ("o2", "bob", SECRET.encode())])
        await connection.close()
        yield made


async def refused(stylobate: Any, url: str, said: str, *arguments: str, **environ: str) -> None:
    """Make sure that a command says one line, and why."""
    done = await run(stylobate, url, *arguments, **environ)
    assert (done.returncode, done.stderr.count("\n"), said in done.stderr) == (2, 1, True), done.stderr


async def test_a_backup_from_before_is_put_without_what_was_destroyed_since(
    databases: Databases, stylobate: Any, url: str, tmp_path: Path
) -> None:
    """It is encrypted, and the newest serves every backup; one of another platform, or an altered one, is refused by name."""
    keys, monday, tuesday = str(tmp_path / "keys"), str(tmp_path / "monday"), str(tmp_path / "tuesday")
    with claimed(tmp_path / "keys"):
        at_once = ("backup", str(tmp_path / "at_once"), "--owner-keys", keys)
        await refused(stylobate, url, "another `stylobate backup` is about to replace it", *at_once, **KEY)
    await refused(stylobate, url, "there are 2 keys of owners, which no backup may hold", "backup", monday, **KEY)
    made = await run(stylobate, url, "backup", monday, "--owner-keys", keys, **KEY)
    assert made.returncode == 0, made.stderr
    assert f"{keys}: 2 keys of owners" in made.stdout
    first = (tmp_path / "keys").read_bytes()
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600
    assert not any(file.name.startswith("state.owner_key") for file in (tmp_path / "monday").iterdir())
    assert SECRET.encode() not in first
    assert not (tmp_path / "keys.lock").exists()
    connection = await asyncpg.connect(url)
    await connection.execute(DESTROY)
    assert (await run(stylobate, url, "backup", tuesday, "--owner-keys", keys, **KEY)).returncode == 0
    async with databases.empty() as there:
        await refused(stylobate, there, "name their file with --owner-keys FILE", "restore", monday, **KEY)
        await refused(stylobate, there, "is missing: the keys of owners", "restore", monday, "--owner-keys", f"{keys}x", **KEY)
        restored = await run(stylobate, there, "restore", monday, "--owner-keys", keys, **KEY)
        assert restored.returncode == 0, restored.stderr
        found = await asyncpg.connect(there)
        assert [tuple(row) for row in await found.fetch(ROWS)] == [("o1", "ada", "a"), ("o2", None, None)]
        await found.execute("delete from state.owner_key where id = 'o1'")
        stranger = ("backup", str(tmp_path / "stranger"), "--owner-keys", keys)
        await refused(stylobate, there, "it is another platform's", *stranger, **KEY)
        await found.close()
    await connection.execute(ADD, "o3", "eve", b"e")
    await connection.close()
    assert (await run(stylobate, url, "backup", str(tmp_path / "three"), "--owner-keys", keys, **KEY)).returncode == 0
    (tmp_path / "keys").write_bytes(first)
    async with databases.empty() as there:
        older = ("restore", str(tmp_path / "three"), "--owner-keys", keys)
        await refused(stylobate, there, "is older than the backup: it has 2 keys where there were 3", *older, **KEY)
        (tmp_path / "keys").write_bytes(first[:-1] + bytes((first[-1] ^ 1,)))
        await refused(stylobate, there, "cannot be read", *older, **KEY)


async def test_a_plain_file_is_one_too(databases: Databases, stylobate: Any, url: str, tmp_path: Path) -> None:
    """Where backups are not encrypted; with a key set it is refused, and so is one that is no such file."""
    keys, monday = str(tmp_path / "keys"), str(tmp_path / "monday")
    assert (await run(stylobate, url, "backup", monday, "--owner-keys", keys)).returncode == 0
    async with databases.empty() as there:
        assert (await run(stylobate, there, "restore", monday, "--owner-keys", keys)).returncode == 0
        found = await asyncpg.connect(there)
        assert [row["sealed"] for row in await found.fetch(ROWS)] == ["a", SECRET]
        await found.close()
    await refused(stylobate, url, "cannot be read", "backup", str(tmp_path / "2"), "--owner-keys", keys, **KEY)
    (tmp_path / "keys").write_bytes(b"a letter")
    await refused(stylobate, url, "cannot be read", "backup", str(tmp_path / "3"), "--owner-keys", keys)
    assert (tmp_path / "keys").read_bytes() == b"a letter"
