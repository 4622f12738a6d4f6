"""Fresh databases on one server: migrated once as a template, copied for each test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from secrets import token_hex

import asyncpg

from stylobate.database import MigrationSet, Migrator


class Databases:
    """The databases of a test session."""

    def __init__(self, url: str) -> None:
        """Use the server of this URL; the user must be allowed to create databases."""
        self._url = url
        self._templates: dict[tuple[str, tuple[MigrationSet, ...]], str] = {}
        self._numbers = count(1)
        self._own = token_hex(4)

    @asynccontextmanager
    async def fresh(self, service: str, *sets: MigrationSet) -> AsyncIterator[str]:
        """Give the URL of a database with the service's schema and these migrations; it is dropped at the end."""
        template = self._templates.get((service, sets))
        if template is None:
            template = await self._create("template1")
            await Migrator(self._named(template), service, sets).upgrade()
            self._templates[service, sets] = template
        name = await self._create(template)
        try:
            yield self._named(name)
        finally:
            await self._run(f'drop database "{name}" with (force)')

    @asynccontextmanager
    async def empty(self) -> AsyncIterator[str]:
        """Give the URL of a database with nothing in it; it is dropped at the end."""
        name = await self._create("template1")
        try:
            yield self._named(name)
        finally:
            await self._run(f'drop database "{name}" with (force)')

    async def _create(self, template: str) -> str:
        name = f"test_{self._own}_{next(self._numbers)}"
        await self._run(f'create database "{name}" template "{template}" strategy file_copy')  # writes nothing into the log
        return name

    async def _run(self, sql: str) -> None:
        connection = await asyncpg.connect(self._url)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    def _named(self, name: str) -> str:
        head, mark, query = self._url.partition("?")
        return f"{head.rpartition('/')[0]}/{name}{mark}{query}"


async def drop_unused(url: str) -> None:
    """Drop two of the three databases that are there beside the platform's; from the third one new ones are made."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("update pg_database set datistemplate = false where datname = 'template0'")
        for name in ("template0", "postgres"):
            await connection.execute(f"drop database {name}")
    finally:
        await connection.close()
