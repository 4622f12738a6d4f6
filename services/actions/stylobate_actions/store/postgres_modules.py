"""``ctx.database`` of a module on PostgreSQL: its own schema and role."""

from contextlib import AbstractAsyncContextManager
from typing import Any

import asyncpg
from stylobate.database import DatabaseManager
from stylobate.database.queries import Queries
from stylobate.modules.database import ModuleDatabase


class PostgresModuleDatabase(ModuleDatabase):
    """The statements of a pool. Where it came from is not to be had."""

    def __init__(self, module: str, queries: Queries, reader: ModuleDatabase | None = None) -> None:
        super().__init__(module, "postgresql")
        self._queries = queries
        self._reader = reader or self

    @classmethod
    def of(cls, module: str, database: DatabaseManager) -> "PostgresModuleDatabase":
        """Return it, with its reader."""
        return cls(module, database, cls(module, database.reader))

    @property
    def reader(self) -> ModuleDatabase:
        return self._reader

    async def fetch(self, sql: str, *args: object) -> list[asyncpg.Record]:
        return await self._queries.fetch(sql, *args)

    async def fetchrow(self, sql: str, *args: object) -> asyncpg.Record | None:
        return await self._queries.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: object) -> Any:
        return await self._queries.fetchval(sql, *args)

    async def execute(self, sql: str, *args: object) -> str:
        return await self._queries.execute(sql, *args)

    def transaction(self) -> AbstractAsyncContextManager[asyncpg.Connection]:
        return self._queries.transaction()
