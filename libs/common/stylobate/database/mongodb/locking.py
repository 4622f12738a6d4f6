"""One at a time in a service's database, for work that takes longer than a transaction may."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

from pymongo import ReturnDocument
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError

from stylobate.database.mongodb.statements import Document
from stylobate.stopping import end, goes_on

_HELD = timedelta(seconds=30)
_LOOK_S = 0.1
_LOCK = "lock"
_UNTIL = {"$add": ["$$NOW", round(_HELD.total_seconds() * 1000)]}


@asynccontextmanager
async def locked(database: AsyncDatabase[Document], collection: str, *, waits: bool = True) -> AsyncIterator[bool]:
    """Keep others out for the block, and say whether that holds; one that was killed counts for half a minute.

    :param collection: which has the lock. :param waits: whether another that is at it is waited for; else False is given.
    """
    locks, ours = database.get_collection(collection), str(uuid4())
    is_free = {"$lte": ["$until", "$$NOW"]}  # one that is missing is less than every time
    taken = {"holder": {"$cond": ["$is_free", ours, "$holder"]}, "until": {"$cond": ["$is_free", _UNTIL, "$until"]}}
    steps: list[dict[str, Any]] = [{"$set": {"is_free": is_free}}, {"$set": taken}, {"$unset": "is_free"}]
    while True:
        with suppress(DuplicateKeyError):  # two make it at this moment
            found = await locks.find_one_and_update({"_id": _LOCK}, steps, upsert=True, return_document=ReturnDocument.AFTER)
            if found is not None and found["holder"] == ours:
                break
        if not waits:
            yield False
            return
        await asyncio.sleep(_LOOK_S)
    keeping = asyncio.create_task(_keep(database, collection, ours))
    try:
        yield True
    finally:
        await end((keeping,))
        await locks.delete_one({"_id": _LOCK, "holder": ours})


async def _keep(database: AsyncDatabase[Document], collection: str, holder: str) -> None:
    while goes_on():
        await asyncio.sleep(_HELD.total_seconds() / 3)
        locks = database.get_collection(collection)
        await locks.update_one({"_id": _LOCK, "holder": holder}, [{"$set": {"until": _UNTIL}}])
