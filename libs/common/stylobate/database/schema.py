"""Bringing a service's schema up to date, whichever kind of database it is in."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from stylobate.database.address import is_mongodb
from stylobate.database.migrations import MigrationSet, Migrator
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
    url: str, service: str, sets: Sequence[MigrationSet], *, use_role: bool = True, setting: str = URL
) -> SchemaMigrator:
    """Return what migrates the database that a URL names.

    :param use_role: of PostgreSQL: see Migrator. :param setting: that the URL comes from, for who must set it right.
    """
    if not is_mongodb(url):
        return Migrator(url, service, sets, use_role=use_role, setting=setting)
    from stylobate.database.mongodb import MongoMigrator  # noqa: PLC0415  its driver: 11 MB, for whoever has one

    return MongoMigrator(url, service, sets, setting=setting)
