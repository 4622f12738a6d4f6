"""Bringing a service's schema up to date, whichever kind of database it is in."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from stylobate.database.address import is_mongodb
from stylobate.database.migrations import Migration, MigrationSet, Migrator
from stylobate.database.refusal import URL


class SchemaMigrator(Protocol):
    """What Migrator and MongoMigrator have in common; see there."""

    async def upgrade(self, upto: Mapping[str, int] | None = None) -> list[str]:
        """Apply what is pending and return its names. Raises MigrationError."""

    async def pending(self) -> list[str]:
        """Return the names of what upgrade would apply. Raises MigrationError."""

    async def grant(self, user: str) -> None:
        """Let a database user do what the service needs. Raises MigrationError."""


def migrator_of(
    url: str,
    service: str,
    sets: Sequence[MigrationSet],
    *,
    use_role: bool = True,
    setting: str = URL,
    is_restore: bool = False,
) -> SchemaMigrator:
    """Return what migrates the database that a URL names.

    :param use_role: of PostgreSQL: see Migrator. :param setting: that the URL comes from, for who must set it right.
    :param is_restore: see Migrator.
    """
    if not is_mongodb(url):
        return Migrator(url, service, sets, use_role=use_role, setting=setting, is_restore=is_restore)
    from stylobate.database.mongodb import MongoMigrator  # noqa: PLC0415  its driver: 11 MB, for whoever has one

    return MongoMigrator(url, service, sets, setting=setting, is_restore=is_restore)


def files_of(part: MigrationSet, *, on_mongodb: bool) -> list[Migration]:
    """Return a set's files for one kind of database. Raises MigrationError where it has none."""
    if not on_mongodb:
        return part.load()
    from stylobate.database.mongodb.migrations import load  # noqa: PLC0415  its driver

    return load(part)
