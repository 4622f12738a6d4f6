"""Fresh MongoDB databases on one server: migrated once, emptied after each test and used again, for making one takes a while."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from secrets import token_hex
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database

from stylobate.database import MigrationSet
from stylobate.database.mongodb import MongoMigrator
from stylobate.database.mongodb.address import database_of, named

_Key = tuple[str, tuple[MigrationSet, ...]]


@dataclass
class _Kept:
    """A database that nobody uses at the moment, and what migrations put into it."""

    url: str
    seeds: dict[str, list[dict[str, Any]]]


class MongoDatabases:
    """The databases of a test session."""

    def __init__(self, url: str) -> None:
        """Use the server of this URL; the user must be allowed everything there."""
        self._url = url
        self._client: MongoClient[dict[str, Any]] = MongoClient(url, tz_aware=True, w=1, journal=False)
        self._free: dict[_Key, list[_Kept]] = {}
        self._numbers = count(1)
        self._own = token_hex(4)

    def close(self) -> None:
        """Let go of the server."""
        self._client.close()

    @asynccontextmanager
    async def fresh(self, service: str, *sets: MigrationSet) -> AsyncIterator[str]:
        """Give a URL in which the service's database is new, with these migrations."""
        free = self._free.setdefault((service, sets), [])
        kept = free.pop() if free else await self._made(service, sets)
        try:
            yield kept.url
        finally:
            self._empty(self._database(kept.url, service), kept)
            free.append(kept)

    @asynccontextmanager
    async def empty(self) -> AsyncIterator[str]:
        """Give a URL of which no service has a database yet; they are dropped at the end."""
        url = self._next()
        try:
            yield url
        finally:
            for name in self._client.list_database_names():
                if name.startswith(database_of(url, "")):
                    self._client.drop_database(name)

    async def _made(self, service: str, sets: tuple[MigrationSet, ...]) -> _Kept:
        url = self._next()
        await MongoMigrator(url, service, sets).upgrade()
        database = self._database(url, service)
        return _Kept(url, {name: list(database[name].find({})) for name in _collections(database)})

    def _empty(self, database: Database[dict[str, Any]], kept: _Kept) -> None:
        """Make the documents what they were. A look costs less than a deletion that finds nothing, as in most collections."""
        for name in _collections(database) - kept.seeds.keys():
            database[name].drop()
        for name, documents in kept.seeds.items():
            if (found := list(database[name].find({}).limit(len(documents) + 1))) != documents:
                if found:
                    database[name].delete_many({})
                if documents:
                    database[name].insert_many(documents)

    def _database(self, url: str, service: str) -> Database[dict[str, Any]]:
        return self._client.get_database(database_of(url, service))

    def _next(self) -> str:
        return named(self._url, f"test{self._own}{next(self._numbers)}")


def _collections(database: Database[dict[str, Any]]) -> set[str]:
    return {name for name in database.list_collection_names() if not name.startswith("system.") and name != "migration"}
