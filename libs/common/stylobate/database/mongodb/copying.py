"""All that stands in the databases of services, read at one moment.

A file of it is documents one behind the other, as BSON has them: types, order and numbers stay what they are, and ``bsondump``
shows them.
"""

from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from bson import Timestamp, json_util
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure, PyMongoError

from stylobate.database.address import hosts
from stylobate.database.copying import SchemaContents, Sink
from stylobate.database.migrations import MigrationError
from stylobate.database.mongodb.address import database_of
from stylobate.database.mongodb.manager import client_of
from stylobate.database.mongodb.refusal import greet, in_short, is_about_rights, may_not
from stylobate.database.mongodb.signals import COLLECTION as SIGNAL
from stylobate.database.mongodb.statements import Document
from stylobate.database.mongodb.unfinished import RESTORE, UNFINISHED, is_unfinished
from stylobate.database.refusal import URL

DOCUMENT = ("document",)
"""The only column of a collection."""
_NOT_COPIED = frozenset(("migration", "migration_lock", SIGNAL, RESTORE))
RAW = CodecOptions(document_class=RawBSONDocument)
SOME, SOME_OCTETS = 1000, 8 * 1024 * 1024
"""How many documents, and octets of them, are in memory at once; the last document may be 16 MB more."""
_TOO_OLD, _CHANGED = 239, 246


class MongoSnapshot:
    """One moment of the databases that the services of one URL have."""

    def __init__(self, client: AsyncMongoClient[Document], url: str, at: Timestamp) -> None:
        self._client, self._url = client, url
        self._concern = {"level": "snapshot", "atClusterTime": at}
        self._database: AsyncDatabase[Document]

    async def enter(self, service: str, *, use_role: bool) -> bool:
        """Look into a service's database from now on; return whether there is one. Raises MigrationError."""
        del use_role
        self._database = self._client.get_database(database_of(self._url, service))
        with told(self._url):
            if await is_unfinished(self._database):
                raise MigrationError(f"database {self._database.name} at {hosts(self._url)}: {UNFINISHED}")
            return bool(await self._found("migration")) or SIGNAL in await self._database.list_collection_names()

    async def contents(self, service: str, *, is_of_module: bool = False) -> SchemaContents:
        """Return what the database that was entered has, and what its collections hold writers to."""
        del service
        with told(self._url):
            applied = sorted((row["_id"]["set"], row["_id"]["number"], row["checksum"]) for row in await self._found("migration"))
            options = await options_of(self._database)
            series = await self._database.list_collection_names(filter={"type": "timeseries"})
            made = {name: json_util.dumps(await self._made(name, options[name])) for name in options} if is_of_module else {}
        return SchemaContents(
            tuple(applied),
            dict.fromkeys(options, DOCUMENT),
            {},
            {name: json_util.dumps(one["validator"]) for name, one in options.items() if "validator" in one},
            made,
            tuple(sorted(series)),
        )

    async def _made(self, name: str, options: Document) -> Document:
        indexes = await (await self._database.get_collection(name).list_indexes()).to_list()
        return {"options": options, "indexes": [one for one in indexes if one["name"] != "_id_" and not one.get("clustered")]}

    async def named(self, prefix: str) -> list[str]:
        """Return the parts whose database is called so and is ours to see."""
        with told(self._url):
            found = await self._client.admin.command({"listDatabases": 1, "nameOnly": True, "authorizedDatabases": True})
        ours = database_of(self._url, "")
        names = [str(one["name"]).removeprefix(ours) for one in found["databases"] if one["name"].startswith(ours + prefix)]
        return sorted(names)

    async def read(self, table: str, columns: Collection[str], sink: Sink) -> int:
        """Give the documents of a collection to the sink, and return how many there are. Raises MigrationError."""
        del columns
        return await self._each(table, lambda document: bytes(document.raw), sink)

    async def read_lines(self, table: str, columns: Collection[str], sink: Sink) -> int:
        """Give each document as a line: its id, a tab, and the document in Base64. For ids that are texts."""
        del columns
        return await self._each(table, lambda document: f"{document['_id']}\t".encode() + b64encode(document.raw) + b"\n", sink)

    async def _each(self, table: str, form: Callable[[RawBSONDocument], bytes], sink: Sink) -> int:
        count, some = 0, bytearray()
        with told(self._url):
            command = {"find": table, "batchSize": SOME, "readConcern": self._concern}
            raw = self._database.with_options(codec_options=RAW)  # those of a command are only for the first batch
            cursor: Any = await raw.cursor_command(command, codec_options=RAW)
            async for document in cursor:
                count += 1
                some += form(document)
                if len(some) >= SOME_OCTETS:
                    await sink(bytes(some))
                    some.clear()
        await sink(bytes(some))
        return count

    async def _found(self, table: str) -> list[Document]:
        cursor = await self._database.cursor_command({"find": table, "readConcern": self._concern})
        return await cursor.to_list()


class MongoMoments:
    """The moment that is read, of each replica set that any of the URLs names: of services that share one it is the same."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, ...], Timestamp] = {}

    @asynccontextmanager
    async def snapshot(self, url: str, service: str) -> AsyncIterator[MongoSnapshot]:
        """Give what stands there, which is read at one moment while others write. Raises ConfigError, MigrationError.

        :param service: one of them.
        """
        async with connected(url, "backup") as client:
            with told(url):
                hello = await client.admin.command("hello")
                key = (hello.get("setName", ""), *sorted(hello.get("hosts", [hosts(url)])))
                if key not in self._times:
                    ask: Document = {"find": "migration", "limit": 1}
                    database = client.get_database(database_of(url, service))
                    # a new primary may tell less than was acknowledged: see Succession
                    await database.command({**ask, "readConcern": {"level": "linearizable"}})
                    found = await database.command({**ask, "readConcern": {"level": "snapshot"}})
                    # of a collection that is not there nothing is said, and the last that was done is as good
                    self._times[key] = found["cursor"].get("atClusterTime") or found["operationTime"]
            yield MongoSnapshot(client, url, self._times[key])


async def options_of(database: AsyncDatabase[Document]) -> dict[str, Document]:
    """Return the collections that hold something of a service, by name, and what each is made with."""
    found = await (await database.list_collections()).to_list()
    kept = [
        one
        for one in found
        if one["type"] == "collection" and one["name"] not in _NOT_COPIED and not one["name"].startswith("system.")
    ]
    return {one["name"]: one["options"] for one in sorted(kept, key=lambda one: str(one["name"]))}


@asynccontextmanager
async def connected(url: str, what: str) -> AsyncIterator[AsyncMongoClient[Document]]:
    """Give a client of a server that answers and lets us in. Raises ConfigError, MigrationError."""
    client = client_of(url, f"stylobate-{what}")
    try:
        with told(url):
            await greet(client, URL, url)
        yield client
    finally:
        await client.close()


@contextmanager
def told(url: str) -> Iterator[None]:
    """Make a MigrationError of what the server or the way to it says."""
    try:
        yield
    except OperationFailure as error:
        raise MigrationError(_fault(url, error)) from error
    except (PyMongoError, BSONError, OSError) as error:
        raise MigrationError(f"{URL}: {hosts(url)}: {in_short(error)}") from error


def _fault(url: str, error: OperationFailure) -> str:
    if error.code == _TOO_OLD:
        return (
            f"{hosts(url)} keeps a moment for a shorter time than reading it took: raise its parameter "
            "minSnapshotHistoryWindowInSeconds (300 unless it is set) for as long as the backup takes"
        )
    if error.code == _CHANGED:
        return f"{hosts(url)}: a collection was changed while the backup was taken (an index, a validator): take it again"
    return f"{URL}: {hosts(url)}: {may_not(error) if is_about_rights(error) else said_of(error)}"


def said_of(error: OperationFailure) -> str:
    """Return what the server said, without what was written."""
    details: Mapping[str, Any] = error.details or {}
    first = (details.get("writeErrors") or [details])[0]
    return " ".join(str(first.get("errmsg", error)).partition(" dup key")[0].split())
