"""Reads of one moment, and those that may lag, in MongoDB."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from stylobate.database.mongodb import Document, MongoManager, Statements
from stylobate.errors import DatabaseUnavailableError

T = TypeVar("T")
_SNAPSHOT = ReadConcern("snapshot")


async def lagging(database: MongoManager, read: Callable[[Statements], Awaitable[T]], *, may_lag: bool) -> T:
    """Read from a secondary where it may lag and one answers, else from the primary."""
    if may_lag:
        with suppress(DatabaseUnavailableError):
            return await read(database.reader)
    return await read(database)


async def of_one_moment(
    database: MongoManager, collection: str, pipeline: Sequence[Document], *, may_lag: bool = False
) -> list[Document]:
    """Return what a pipeline gives, over whatever collections, as all of them stood at one moment."""

    async def do(on: object, _: AsyncClientSession | None) -> list[Document]:
        preference = ReadPreference.SECONDARY_PREFERRED if may_lag else ReadPreference.PRIMARY
        there = database.collection(collection).with_options(read_concern=_SNAPSHOT, read_preference=preference)
        del on
        return await (await there.aggregate(pipeline)).to_list()

    return await database.run(None, do, is_of_primary=not may_lag)
