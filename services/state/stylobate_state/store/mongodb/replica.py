"""Reads of one moment, and those that may lag, in MongoDB."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import Primary, SecondaryPreferred
from stylobate.database.mongodb import Document, MongoManager, Statements
from stylobate.database.mongodb.manager import SECONDARY_LAG_S
from stylobate.database.mongodb.statements import Collection
from stylobate.errors import DatabaseUnavailableError

T = TypeVar("T")
_SNAPSHOT = ReadConcern("snapshot")
_OF_PRIMARY = Primary()
_OF_SECONDARY = SecondaryPreferred(max_staleness=SECONDARY_LAG_S)


async def lagging(database: MongoManager, read: Callable[[Statements], Awaitable[T]], *, may_lag: bool) -> T:
    """Read from a secondary where it may lag and one answers, else from the primary."""
    if may_lag:
        with suppress(DatabaseUnavailableError):
            return await read(database.reader)
    return await read(database)


async def of_one_moment(
    database: MongoManager, collection: str, pipeline: Sequence[Document], *, may_lag: bool = False
) -> list[Document]:
    """Return what a pipeline gives, over whatever collections, as all of them stood at one moment; of where, see lagging."""
    if may_lag:
        with suppress(DatabaseUnavailableError):
            return await _of_one_moment(database, collection, pipeline, _OF_SECONDARY, is_of_primary=False)
    return await _of_one_moment(database, collection, pipeline, _OF_PRIMARY, is_of_primary=True)


async def _of_one_moment(
    database: MongoManager,
    collection: str,
    pipeline: Sequence[Document],
    preference: SecondaryPreferred | Primary,
    *,
    is_of_primary: bool,
) -> list[Document]:
    async def do(on: Collection, _: AsyncClientSession | None) -> list[Document]:
        return await (await on.aggregate(pipeline)).to_list()

    return await database.run(
        lambda way: way.collection(collection).with_options(read_concern=_SNAPSHOT, read_preference=preference),
        do,
        is_of_primary=is_of_primary,
    )
