"""The files of a backup, and what is said of one that is not what it was."""

import asyncio
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from stylobate.config import Sources
from stylobate.database import MigrationSet
from stylobate.launcher.backup import manifest as saying
from stylobate.launcher.backup.files import DamagedError, Writer, content
from stylobate.launcher.backup.manifest import FORMAT, Manifest, Schema, Table
from stylobate.launcher.backup.taking import Backup
from stylobate.launcher.output import CommandError

KEY, OTHER = "k" * 32, "o" * 32
BLOCKS = 3
TEXT = bytes(range(256)) * 40


def write(path: Path, key: str, data: bytes = TEXT) -> str:
    """Write a file and return its checksum."""

    async def run() -> str:
        writer = Writer(path, key)
        for start in range(0, len(data), 1000):
            await writer.write(data[start : start + 1000])
        return writer.close()

    return asyncio.run(run())


def read(path: Path, key: str) -> bytes:
    """Return what a file holds."""

    async def run() -> bytes:
        return b"".join([data async for data in content(path, key)])

    return asyncio.run(run())


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make files of several blocks without much data."""
    monkeypatch.setattr("stylobate.launcher.backup.files._BLOCK", 100)


@pytest.mark.parametrize("key", ["", KEY], ids=["plain", "encrypted"])
@pytest.mark.parametrize("data", [b"", b"x", TEXT], ids=len)
@pytest.mark.usefixtures("small_blocks")
def test_what_is_written_is_read(tmp_path: Path, key: str, data: bytes) -> None:
    """Of any length, also nothing; encrypted it shows nothing of it."""
    write(tmp_path / "a", key, data)
    assert read(tmp_path / "a", key) == data
    assert not key or b"\x1f\x8b" not in (tmp_path / "a").read_bytes()[:40]


def blocks(raw: bytes) -> list[bytes]:
    """Return head and blocks of an encrypted file."""
    found, rest = [raw[:24]], raw[24:]
    while rest:
        size = 4 + int.from_bytes(rest[:4], "big")
        found.append(rest[:size])
        rest = rest[size:]
    return found


DAMAGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "an octet": lambda parts: [parts[0], parts[1][:-1] + bytes((parts[1][-1] ^ 1,)), *parts[2:]],
    "the salt": lambda parts: [parts[0][:-1] + bytes((parts[0][-1] ^ 1,)), *parts[1:]],
    "swapped": lambda parts: [parts[0], parts[2], parts[1], *parts[3:]],
    "left out": lambda parts: [parts[0], *parts[2:]],
    "the end": lambda parts: parts[:-1],
    "all blocks": lambda parts: parts[:1],
    "half a block": lambda parts: [*parts[:-1], parts[-1][:9]],
    "twice": lambda parts: [*parts, parts[-1]],
    "the magic": lambda parts: [b"x" + parts[0][1:], *parts[1:]],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.usefixtures("small_blocks")
def test_no_change_of_an_encrypted_file_is_missed(tmp_path: Path, damage: str) -> None:
    """Whoever has no key can change nothing, and nothing of a damaged block is given out."""
    write(tmp_path / "a", KEY)
    parts = blocks((tmp_path / "a").read_bytes())
    assert len(parts) > BLOCKS
    (tmp_path / "a").write_bytes(b"".join(DAMAGES[damage](parts)))
    with pytest.raises(DamagedError):
        read(tmp_path / "a", KEY)


def test_no_file_stands_in_for_another(tmp_path: Path) -> None:
    """One of the same key under another's name is refused, and so is one by another key."""
    write(tmp_path / "a", KEY)
    (tmp_path / "b").write_bytes((tmp_path / "a").read_bytes())
    for name, key in (("b", KEY), ("a", OTHER)):
        with pytest.raises(DamagedError):
            read(tmp_path / name, key)


def made(folder: Path, key: str, migrations: tuple[tuple[str, int, str], ...] = (), data: bytes = TEXT) -> Manifest:
    """Write a backup of one table."""
    table = Table("t", ("a",), 1, "state.t", write(folder / "state.t", key, data))
    schema = Schema("state", saying.MAIN, migrations, {}, (table,))
    manifest = Manifest(FORMAT, "9.9.9", "2026-01-01T00:00:00+00:00", bool(key), (schema,)).sealed(key)
    manifest.write(folder)
    return manifest


@pytest.mark.parametrize("key", ["", KEY], ids=["plain", "encrypted"])
def test_a_manifest_that_was_altered_is_refused(tmp_path: Path, key: str) -> None:
    """Whatever of it; an encrypted one also where the checksum was made to fit."""
    manifest = made(tmp_path, key)
    assert saying.read(tmp_path, key) == manifest
    altered = msgspec.structs.replace(manifest, made_at="2027-01-01T00:00:00+00:00")
    altered.write(tmp_path)
    with pytest.raises(CommandError, match="was altered"):
        saying.read(tmp_path, key)
    if key:
        msgspec.structs.replace(altered, encrypted=False).sealed("").write(tmp_path)
        with pytest.raises(CommandError, match="is not encrypted, and STYLOBATE_BACKUP_KEY is set"):
            saying.read(tmp_path, key)
    for text in ("{}", '{"format":' + "[" * 100_000):
        (tmp_path / saying.NAME).write_text(text)
        with pytest.raises(CommandError, match="cannot be read"):
            saying.read(tmp_path, key)
    (tmp_path / saying.NAME).write_text('{"format": 4, "new": 1}')
    with pytest.raises(CommandError, match=r"has format 4; release .* reads formats 1 to 3"):
        saying.read(tmp_path, key)


@pytest.mark.parametrize("key", ["", KEY], ids=["plain", "encrypted"])
def test_no_octet_of_a_backup_can_be_another(tmp_path: Path, key: str) -> None:
    """Every other one of the table's and of the manifest's: one line that names the file, and never a traceback."""
    made(tmp_path, key, data=b"1\tAda\n")
    for file in (tmp_path / "state.t", tmp_path / saying.NAME):
        whole = file.read_bytes()
        for place in range(0, len(whole), 2):
            file.write_bytes(whole[:place] + bytes((whole[place] ^ 1,)) + whole[place + 1 :])
            try:
                found = saying.read(tmp_path, key)
                saying.check_files(tmp_path, found)
            except CommandError as error:
                said = str(error)
                assert str(tmp_path) in said or "STYLOBATE_BACKUP_KEY" in said
                assert "\n" not in said
            else:  # white space between members says nothing
                assert file.name == saying.NAME
                assert whole[place : place + 1] in b" \n\t\r"
        file.write_bytes(whole)
    saying.check_files(tmp_path, saying.read(tmp_path, key))


@pytest.mark.parametrize(("key", "said"), [("", "STYLOBATE_BACKUP_KEY: missing"), (OTHER, "is another key")])
def test_the_key_must_be_the_same(tmp_path: Path, key: str, said: str) -> None:
    """The setting is named."""
    made(tmp_path, KEY)
    with pytest.raises(CommandError, match=said):
        saying.read(tmp_path, key)


def test_files_are_compared_with_the_manifest(tmp_path: Path) -> None:
    """One that was altered, or is missing, is named."""
    manifest = made(tmp_path, "")
    saying.check_files(tmp_path, manifest)
    (tmp_path / "state.t").write_bytes(b"x")
    with pytest.raises(CommandError, match=r"state\.t was altered"):
        saying.check_files(tmp_path, manifest)
    (tmp_path / "state.t").unlink()
    with pytest.raises(CommandError, match=r"state\.t is missing"):
        saying.check_files(tmp_path, manifest)
    (tmp_path / "state.t").mkdir()
    with pytest.raises(CommandError, match=r"state\.t cannot be read"):
        saying.check_files(tmp_path, manifest)


def test_a_backup_of_a_later_release_is_refused(tmp_path: Path) -> None:
    """It names the migration that is not known here, and what to do; one of an earlier release is taken."""
    known = MigrationSet.of("outbox")
    first = known.load()[0]
    here = {"state": [known]}
    saying.check_release(made(tmp_path, "", ((first.set, 1, first.checksum),)), here)
    (tmp_path / "state.t").unlink()
    later = made(tmp_path, "", (("outbox", 9999, "0"),))
    with pytest.raises(CommandError, match=r"release 9\.9\.9, whose state has the migration outbox/9999 .* restore it with"):
        saying.check_release(later, here)
    with pytest.raises(CommandError, match="the service state, which is not installed"):
        saying.check_release(later, {})


def refused(folder: Path) -> str:
    """Return why a backup is not begun."""
    with pytest.raises(CommandError) as error:
        asyncio.run(Backup(folder, "", Sources(environ={}), print).run())
    return str(error.value)


def test_nothing_of_others_is_removed(tmp_path: Path) -> None:
    """A folder that is called as one that is not whole yet may be somebody's, or be written to by another process."""
    (partial := tmp_path / "backup.partial").mkdir()
    (partial / "state.t.copy.gz").touch()
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert "another `stylobate backup` is writing there" in refused(tmp_path / "backup")
    finally:
        os.close(descriptor)
    (partial / "letter.txt").touch()
    assert "has letter.txt, which is of no backup" in refused(tmp_path / "backup")
    assert {file.name for file in partial.iterdir()} == {"letter.txt", "state.t.copy.gz"}


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """With what the system says."""
    (tmp_path / "file").touch()
    assert f"{tmp_path}/file/backup.partial cannot be made: Not a directory" in refused(tmp_path / "file" / "backup")
