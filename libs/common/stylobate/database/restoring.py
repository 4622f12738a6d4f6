"""The mark of a restore that has begun: as long as it stands, no service takes what is in the database for whole.

Beside :mod:`stylobate.database.unfinished`, which is how others see it.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from stylobate.database.copying import connected, drop_schemas
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


class Home(Protocol):
    """What is marked as one: a PostgreSQL with the schemas of its services, or the database of one service in MongoDB.

    Each method raises MigrationError where the server does not let it.
    """

    async def mark(self, backup: str) -> None:
        """Set the mark, where there is none."""

    async def settle(self) -> None:
        """Wait until nobody brings it up to date who began before the mark was set."""

    async def marked(self) -> Mark | None:
        """Return the mark that stands there."""

    async def note_whole(self) -> None:
        """Note in the mark that all is there."""

    async def unmark(self) -> None:
        """Take the mark away."""

    async def clear(self) -> None:
        """Remove what was put there, and no mark."""

    def alone(self) -> AbstractAsyncContextManager[bool]:
        """Say whether no other restore is at work there, and keep others out for the block."""


class PostgresHome:
    """A PostgreSQL.

    :param services: whose schemas are put there.
    """

    def __init__(self, url: str, services: Sequence[str]) -> None:
        self._url, self._services = url, services

    async def mark(self, backup: str) -> None:
        """Set the mark, where there is none."""
        async with connected(self._url) as connection, connection.transaction():
            await connection.execute(_MARK)
            await connection.executemany(_BEGUN, [(name, backup) for name in self._services])

    async def settle(self) -> None:
        """Wait until nobody brings schemas up to date who began before the mark was set."""
        async with connected(self._url) as connection:
            for name in self._services:
                await connection.execute(LOCK, lock_of(name))
            await connection.execute("select pg_advisory_unlock_all()")

    async def marked(self) -> Mark | None:
        """Return the mark that stands there."""
        async with connected(self._url) as connection:
            if not await is_unfinished(connection):
                return None
            rows = await connection.fetch(_MARKED)
        return Mark(
            tuple(row["service"] for row in rows), rows[0]["backup"] if rows else "", any(row["is_whole"] for row in rows)
        )

    async def note_whole(self) -> None:
        """Note in the mark that all is there."""
        async with connected(self._url) as connection:
            await connection.execute(_WHOLE)

    async def unmark(self) -> None:
        """Take the mark away."""
        async with connected(self._url) as connection:
            await connection.execute(_UNMARK)

    async def clear(self) -> None:
        """Remove the schemas: those that the mark names, where it does, else ours."""
        mark = await self.marked()
        await drop_schemas(self._url, mark.services if mark is not None else self._services)

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[bool]:
        """Say whether no other restore is at work there, and keep others out for the block."""
        async with connected(self._url) as connection:
            yield bool(await connection.fetchval(_LOCK))
