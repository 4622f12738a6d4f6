"""Putting what :mod:`stylobate.database.mongodb.copying` read into databases that are new."""

from base64 import b64decode
from collections.abc import AsyncIterable, AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

from bson import json_util
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError

from stylobate.database.migrations import MigrationError
from stylobate.database.mongodb.address import database_of
from stylobate.database.mongodb.copying import DOCUMENT, RAW, SOME, SOME_OCTETS, connected, options_of, said_of, told
from stylobate.database.mongodb.statements import Document
from stylobate.database.mongodb.transaction import MAJORITY

_LENGTH = 4


class MongoFilling:
    """A database that is filled. What goes wrong leaves a part there: the mark of the restore says so."""

    def __init__(self, database: AsyncDatabase[Document], url: str) -> None:
        self._database, self._url = database, url

    async def make(self, table: str, made: str) -> bool:
        """Make a collection as it was, with the indexes that no migration has made. Raises MigrationError."""
        wanted = json_util.loads(made or "{}")
        with told(self._url):
            if table not in await self._database.list_collection_names():
                await self._database.command({"create": table, **wanted.get("options", {})})
            there = await (await self._database.get_collection(table).list_indexes()).to_list()
            names = {one["name"] for one in there}
            if missing := [one for one in wanted.get("indexes", ()) if one["name"] not in names]:
                await self._database.command({"createIndexes": table, "indexes": missing})
        return True

    async def put(self, table: str, columns: Collection[str], source: AsyncIterable[bytes]) -> int:
        """Put documents into a collection, and return how many there were. Raises MigrationError."""
        del columns
        return await self._put(table, _split(table, source))

    async def put_lines(self, table: str, columns: Collection[str], source: AsyncIterable[bytes]) -> int:
        """Put what :meth:`MongoSnapshot.read_lines` gave."""
        if tuple(columns) != DOCUMENT:
            raise MigrationError(f"the rows of {table} are not of MongoDB")
        return await self._put(table, _lines(source))

    async def continue_sequences(self, last: Mapping[str, int]) -> None:
        """Do nothing: there are none."""

    async def hold_to(self, validators: Mapping[str, str]) -> None:
        """Let collections hold writers to what they did: a service changes that while it runs."""
        with told(self._url):
            for name, options in (await options_of(self._database)).items():
                wanted = json_util.loads(validators.get(name, "{}"))
                if options.get("validator", {}) != wanted:
                    await self._database.command({"collMod": name, "validator": wanted})

    async def empty(self) -> None:
        """Remove what the migrations put there."""
        with told(self._url):
            for name in await options_of(self._database):
                await self._database.get_collection(name).delete_many({})

    async def _put(self, table: str, documents: AsyncIterator[bytes]) -> int:
        collection = self._database.get_collection(table, RAW, write_concern=MAJORITY)
        count, some, octets = 0, list[RawBSONDocument](), 0

        async def insert() -> None:
            try:
                # what an earlier validator let in is in the backup too
                await collection.insert_many(some, ordered=False, bypass_document_validation=True)
            except BulkWriteError as error:
                raise MigrationError(f"the documents of {table} do not fit: {said_of(error)}") from error

        with told(self._url):
            async for document in documents:
                try:
                    some.append(RawBSONDocument(document))
                except BSONError as error:
                    raise MigrationError(f"the documents of {table} are none: {error}") from error
                count, octets = count + 1, octets + len(document)
                if len(some) >= SOME or octets >= SOME_OCTETS:
                    await insert()
                    some, octets = [], 0
            if some:
                await insert()
        return count


@asynccontextmanager
async def filling(url: str, service: str) -> AsyncIterator[MongoFilling]:
    """Empty the collections of a database that was just made, and fill them."""
    async with adding(url, service) as into:
        await into.empty()
        yield into


@asynccontextmanager
async def adding(url: str, service: str) -> AsyncIterator[MongoFilling]:
    """Fill collections that are empty."""
    async with connected(url, "restore") as client:
        yield MongoFilling(client.get_database(database_of(url, service), write_concern=MAJORITY), url)


async def _split(table: str, source: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield document by document."""
    rest = b""
    async for data in source:
        rest, start = rest + data, 0
        while len(rest) - start >= _LENGTH:
            end = start + int.from_bytes(rest[start : start + _LENGTH], "little")
            if end <= start + _LENGTH:
                raise MigrationError(f"the documents of {table} are none")
            if end > len(rest):
                break
            yield rest[start:end]
            start = end
        rest = rest[start:]
    if rest:
        raise MigrationError(f"the documents of {table} end too early")


async def _lines(source: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    rest = b""
    async for data in source:
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line:
                yield b64decode(line.partition(b"\t")[2])
