"""The mark of a restore that has begun in a service's database, and what keeps two of them apart.

Beside :mod:`stylobate.database.mongodb.unfinished`, which is how others see it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pymongo.asynchronous.database import AsyncDatabase

from stylobate.database.mongodb.address import database_of
from stylobate.database.mongodb.copying import connected, told
from stylobate.database.mongodb.locking import locked
from stylobate.database.mongodb.migrations import LOCK
from stylobate.database.mongodb.statements import Document
from stylobate.database.mongodb.transaction import MAJORITY
from stylobate.database.mongodb.unfinished import MARK, RESTORE
from stylobate.database.restoring import Mark


class MongoHome:
    """One service's database, as a restore has it: empty at first, marked as long as it is not whole."""

    def __init__(self, url: str, service: str) -> None:
        self._url, self._service = url, service

    async def mark(self, backup: str) -> None:
        """Set the mark. Raises MigrationError where it cannot be set, as the following do."""
        async with self._database() as database:
            mark = {"$setOnInsert": {"backup": backup, "is_whole": False}}
            await database.get_collection(RESTORE).update_one({"_id": MARK}, mark, upsert=True)

    async def settle(self) -> None:
        """Wait until nobody brings it up to date who began before the mark was set."""
        async with self._database() as database, locked(database, LOCK):
            pass

    async def marked(self) -> Mark | None:
        """Return the mark that stands there."""
        async with self._database() as database:
            found = await database.get_collection(RESTORE).find_one({"_id": MARK})
        return None if found is None else Mark((self._service,), found["backup"], found["is_whole"])

    async def note_whole(self) -> None:
        """Note in the mark that all is there."""
        async with self._database() as database:
            await database.get_collection(RESTORE).update_one({"_id": MARK}, {"$set": {"is_whole": True}})

    async def unmark(self) -> None:
        """Take the mark away."""
        async with self._database() as database:
            marks = database.get_collection(RESTORE)
            await marks.delete_one({"_id": MARK})
            if await marks.find_one({}) is None:  # else it has who is at work, whose end removes it
                await marks.drop()

    async def clear(self) -> None:
        """Remove what was put there, and no mark."""
        async with self._database() as database:
            for name in await _collections(database):
                await database.drop_collection(name)

    async def is_empty(self) -> bool:
        """Return whether nothing is there."""
        async with self._database() as database:
            return not await _collections(database)

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[bool]:
        """Say whether no other restore is at work there, and keep others out for the block.

        One that was killed counts for half a minute.
        """
        async with self._database() as database:
            async with locked(database, RESTORE, waits=False) as is_alone:
                yield is_alone
            marks = database.get_collection(RESTORE)
            if is_alone and await marks.find_one({}) is None:
                await marks.drop()

    @asynccontextmanager
    async def _database(self) -> AsyncIterator[AsyncDatabase[Document]]:
        async with connected(self._url, "restore") as client:
            with told(self._url):
                yield client.get_database(database_of(self._url, self._service), write_concern=MAJORITY)


async def _collections(database: AsyncDatabase[Document]) -> list[str]:
    names = await database.list_collection_names()
    return [name for name in names if name not in {RESTORE, LOCK} and not name.startswith("system.")]
