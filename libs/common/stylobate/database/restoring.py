"""The mark of a restore that has begun: as long as it stands, no service takes what is in the database for whole.

Beside :mod:`stylobate.database.unfinished`, which is how others see it.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stylobate.database.copying import connected
from stylobate.database.migrations import LOCK, lock_of
from stylobate.database.unfinished import is_unfinished

_MARK = """
create schema if not exists stylobate_restore;
create table if not exists stylobate_restore.mark (
    service text primary key, backup text not null, is_whole boolean not null default false
)
"""
_BEGUN = "insert into stylobate_restore.mark (service, backup) values ($1, $2) on conflict do nothing"
_MARKED = "select service, backup, is_whole from stylobate_restore.mark order by service"
_WHOLE = "update stylobate_restore.mark set is_whole = true"
_UNMARK = "drop schema if exists stylobate_restore cascade"
_LOCK = "select pg_try_advisory_lock(hashtextextended('stylobate.restore', 0))"


@dataclass(frozen=True, slots=True)
class Mark:
    """What was begun in a database."""

    services: tuple[str, ...]
    """Those whose schemas are put there; when it was begun there were none."""
    backup: str
    """What tells the backup from others."""
    is_whole: bool
    """Whether all of it was put, in all databases."""


async def mark(url: str, services: Collection[str], backup: str) -> None:
    """Set the mark, in a database that has none. Raises MigrationError where it cannot be set."""
    async with connected(url) as connection, connection.transaction():
        await connection.execute(_MARK)
        await connection.executemany(_BEGUN, [(name, backup) for name in services])


async def marked(url: str) -> Mark | None:
    """Return the mark that stands in a database. Raises MigrationError."""
    async with connected(url) as connection:
        if not await is_unfinished(connection):
            return None
        rows = await connection.fetch(_MARKED)
    return Mark(tuple(row["service"] for row in rows), rows[0]["backup"] if rows else "", any(row["is_whole"] for row in rows))


async def note_whole(url: str) -> None:
    """Note in the mark that all is there. Raises MigrationError."""
    async with connected(url) as connection:
        await connection.execute(_WHOLE)


async def unmark(url: str) -> None:
    """Take the mark away. Raises MigrationError."""
    async with connected(url) as connection:
        await connection.execute(_UNMARK)


async def settle(url: str, services: Collection[str]) -> None:
    """Wait until nobody brings schemas up to date who began before the mark was set. Raises MigrationError."""
    async with connected(url) as connection:
        for name in services:
            await connection.execute(LOCK, lock_of(name))
        await connection.execute("select pg_advisory_unlock_all()")


@asynccontextmanager
async def alone(url: str) -> AsyncIterator[bool]:
    """Say whether no other restore is at work in a database, and keep others out for the block. Raises MigrationError."""
    async with connected(url) as connection:
        yield bool(await connection.fetchval(_LOCK))
