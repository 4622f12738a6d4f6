"""What a backup says of itself, and the checks that it must pass before anything of it is used."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from stylobate import __version__
from stylobate.database import MigrationSet
from stylobate.database.schema import files_of
from stylobate.launcher.backup.files import DamagedError, checked, derived
from stylobate.launcher.output import CommandError

NAME = "manifest.json"
FORMAT, WITH_MONGODB, WITH_MODULES = 1, 2, 3
"""Which the manifest has: the least that says what is in it, so that releases before can read what they know."""
MAIN = "main"
"""The name of the database that every service has."""


class Table(msgspec.Struct, frozen=True):
    """One table."""

    name: str
    columns: tuple[str, ...]
    rows: int
    file: str
    sha256: str
    validator: str | msgspec.UnsetType = msgspec.UNSET
    """What the collection held writers to, as extended JSON."""
    made: str | msgspec.UnsetType = msgspec.UNSET
    """How a module's collection was made, as extended JSON: it may have made more than its migrations say."""


class Schema(msgspec.Struct, frozen=True):
    """One service's schema in one database."""

    service: str
    database: str
    """:data:`MAIN`, or the name that the service's settings give a further one."""
    migrations: tuple[tuple[str, int, str], ...]
    sequences: dict[str, int]
    tables: tuple[Table, ...]
    owner_keys: int | msgspec.UnsetType = msgspec.UNSET
    """How many keys of owners there were, which the backup does not have; UNSET: none."""
    kind: Literal["mongodb"] | msgspec.UnsetType = msgspec.UNSET
    """Of its database; UNSET: PostgreSQL."""
    module: str | msgspec.UnsetType = msgspec.UNSET
    """Whose data of its own it has; UNSET: it is the service's."""

    def __str__(self) -> str:
        """Return ``state``, ``state in archive`` or ``the module carts``."""
        if self.module:
            return f"the module {self.module}"
        return self.service if self.database == MAIN else f"{self.service} in {self.database}"

    @property
    def is_on_mongodb(self) -> bool:
        """Whether it is a database of MongoDB."""
        return self.kind == "mongodb"

    @property
    def upto(self) -> dict[str, int]:
        """By set the last migration that it has."""
        return {name: number for name, number, _ in sorted(self.migrations)}


class Manifest(msgspec.Struct, frozen=True):
    """What a backup has."""

    format: int
    release: str
    made_at: str
    """RFC 3339."""
    encrypted: bool
    schemas: tuple[Schema, ...]
    seal: str = ""
    """Over everything above: SHA-256, or where it is encrypted HMAC-SHA256 by a key that is derived from the backup's."""

    def sealed(self, key: str) -> "Manifest":
        """Return it with its seal."""
        plain = msgspec.json.encode(msgspec.structs.replace(self, seal=""))
        if self.encrypted:
            seal = hmac.new(derived(key, b"", NAME), plain, "sha256").hexdigest()
        else:
            seal = hashlib.sha256(plain).hexdigest()
        return msgspec.structs.replace(self, seal=seal)

    def write(self, folder: Path) -> None:
        """Write it into a folder."""
        (folder / NAME).write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")


def read(folder: Path, key: str) -> Manifest:
    """Read the manifest of a backup, and make sure that it is whole. Raises CommandError with what to do."""
    path = folder / NAME
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise CommandError(f"{folder} holds no backup: there is no {NAME}") from None
    try:
        kind = bytes(msgspec.json.decode(raw, type=dict[str, msgspec.Raw])["format"]).decode()
        if kind not in {str(one) for one in range(FORMAT, WITH_MODULES + 1)}:
            raise CommandError(
                f"{path}: the backup has format {kind}; release {__version__} reads formats {FORMAT} to {WITH_MODULES}"
            )
        found = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.MsgspecError, KeyError, UnicodeDecodeError, RecursionError):
        raise CommandError(f"{path} was altered: it cannot be read") from None
    if found.encrypted and not key:
        raise CommandError("STYLOBATE_BACKUP_KEY: missing; the backup is encrypted")
    if key and not found.encrypted:
        raise CommandError(f"{folder} is not encrypted, and STYLOBATE_BACKUP_KEY is set: without it the backup is taken as it is")
    if not hmac.compare_digest(found.sealed(key).seal, found.seal):
        why = "or STYLOBATE_BACKUP_KEY is another key" if found.encrypted else "its checksum is another"
        raise CommandError(f"{path} was altered, {why}")
    return found


def check_files(folder: Path, manifest: Manifest) -> None:
    """Raise CommandError for the first file that is not what it was."""
    for schema in manifest.schemas:
        for table in schema.tables:
            try:
                if checked(folder / table.file) != table.sha256:
                    raise DamagedError(f"{table.file} was altered: its checksum is another")
            except DamagedError as error:
                raise CommandError(f"{folder}: {error}") from None


def check_release(manifest: Manifest, sets: Mapping[str, Iterable[MigrationSet]]) -> None:
    """Raise CommandError where this release does not know what the backup was made with.

    :param sets: the migrations of each service, as they are here.
    """
    for schema in manifest.schemas:
        if schema.module:
            continue
        if schema.service not in sets:
            raise CommandError(f"the backup has the service {schema.service}, which is not installed here")
        if unknown := _unknown(schema, sets[schema.service]):
            raise CommandError(
                f"the backup was made by release {manifest.release}, whose {schema.service} has the migration "
                f"{unknown} that release {__version__} does not know: restore it with the release that made it or a later one"
            )


def check_module(schema: Schema, sets: Iterable[MigrationSet]) -> None:
    """Raise CommandError where the files of a module that are here are not those that its data were made with.

    :param sets: its migrations, as they are here.
    """
    if unknown := _unknown(schema, sets):
        raise CommandError(f"the backup has {schema} with the migration {unknown}, which its files here do not have: take those")


def _unknown(schema: Schema, sets: Iterable[MigrationSet]) -> str:
    """Return the first migration of a schema that is not known, or not as it was; empty: there is none."""
    known = {(file.set, file.number): file.checksum for part in sets for file in files_of(part, on_mongodb=schema.is_on_mongodb)}
    unknown = (f"{name}/{number:04d}" for name, number, checksum in schema.migrations if known.get((name, number)) != checksum)
    return next(unknown, "")
