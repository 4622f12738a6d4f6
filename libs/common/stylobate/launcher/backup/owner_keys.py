"""The file of the owners' keys: beside all backups, and newer than each of them.

A backup holds no key of an owner, else it could be read for good. There is one such file for all backups: each replaces it, so
that a key that was destroyed is in none. Its first line says what it has, the others are rows as ``COPY`` writes them,
or of MongoDB an id and the document in Base64.
"""

import fcntl
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from stylobate.launcher.backup.files import DamagedError, Writer, content
from stylobate.launcher.output import CommandError

_NAME = "owner-keys"
"""What its key is derived for, however the file is called."""


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    columns: tuple[str, ...]


@contextmanager
def claimed(path: Path | None) -> Iterator[None]:
    """Keep other backups from the file for as long as the block: whose moment is later replaces it later. Raises CommandError."""
    if path is None:
        yield
        return
    lock = path.with_name(f"{path.name}.lock")
    while True:
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(lock.stat(), os.fstat(descriptor)):  # else whoever held it has removed it
                    break
        except BlockingIOError:
            os.close(descriptor)
            raise CommandError(f"{path}: another `stylobate backup` is about to replace it; try again when it is done") from None
        os.close(descriptor)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


class OwnerKeysWriter:
    """Writes the file anew, beside the one that is there until :meth:`replace`.

    :param path: None: no row is taken, which is right where there are none.
    """

    def __init__(self, path: Path | None, key: str, columns: Sequence[str]) -> None:
        self._path, self._key = path, key
        self._ids: set[bytes] = set()
        self._rest = b""
        self._new = path.with_name(f"{path.name}.partial") if path is not None else None
        self._writer: Writer | None = None
        if self._new is not None:
            self._new.unlink(missing_ok=True)
            self._writer = Writer(self._new, key, name=_NAME)
        self._head = msgspec.json.encode(_Head(tuple(columns))) + b"\n"

    async def __aenter__(self) -> Self:
        """Write the first line."""
        if self._writer is not None:
            await self._writer.write(self._head)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leave the file of before, where this one was not put in its place."""
        if self._new is not None:
            self._new.unlink(missing_ok=True)

    async def write(self, rows: bytes) -> None:
        """Take rows, whose first column is the id."""
        *whole, self._rest = (self._rest + rows).split(b"\n")
        self._ids.update(row.partition(b"\t")[0] for row in whole if row)
        if self._writer is not None:
            await self._writer.write(rows)

    async def replace(self) -> int:
        """Put it in the place of the one of before, and return how many keys it has. Raises CommandError."""
        if self._path is None or self._writer is None or self._new is None:
            if self._ids:
                raise CommandError(
                    f"there are {len(self._ids)} keys of owners, which no backup may hold: name the file that they are kept in, "
                    "one for all backups, with --owner-keys FILE"
                )
            return 0
        self._writer.close()
        if self._path.exists():
            before = await OwnerKeys.read(self._path, self._key)
            if not before.ids <= self._ids:
                raise CommandError(f"{self._path} has keys that are not known here: it is another platform's; name another file")
        self._new.replace(self._path)
        return len(self._ids)


class OwnerKeys:
    """The file as it is."""

    def __init__(self, path: Path, key: str, columns: Sequence[str], ids: set[bytes]) -> None:
        self._path, self._key = path, key
        self.columns = columns
        self.ids = ids

    @classmethod
    async def read(cls, path: Path, key: str) -> "OwnerKeys":
        """Read it once, from one end to the other. Raises CommandError."""
        head, ids, rest = b"", set[bytes](), b""
        try:
            async for data in content(path, key, name=_NAME):
                *lines, rest = (rest + data).split(b"\n")
                if not head and lines:
                    head = lines.pop(0)
                ids.update(line.partition(b"\t")[0] for line in lines if line)
            columns = msgspec.json.decode(head, type=_Head).columns
        except FileNotFoundError:
            raise CommandError(
                f"{path} is missing: the keys of owners are in it, without which nobody reads their data"
            ) from None
        except (DamagedError, EOFError, OSError, msgspec.MsgspecError) as error:
            raise CommandError(
                f"{path} cannot be read: {error}; it was altered, or STYLOBATE_BACKUP_KEY is another key"
            ) from None
        return cls(path, key, columns, ids)

    async def rows(self) -> AsyncIterator[bytes]:
        """Yield the rows, piece by piece."""
        head: bytes | None = b""
        async for data in content(self._path, self._key, name=_NAME):
            rows = data
            if head is not None:
                head, line_feed, rows = (head + data).partition(b"\n")
                head = None if line_feed else head
            if rows:
                yield rows
