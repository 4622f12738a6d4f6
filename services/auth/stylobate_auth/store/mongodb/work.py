"""Work that waits in a collection for the time in ``due_at``, and is taken by one of all processes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from stylobate.database.mongodb import Document, MongoManager, micros


async def take_due(
    database: MongoManager, collection: str, now: datetime, change: Mapping[str, Any], most: int
) -> list[Document]:
    """Return documents that are due, as they are after a change that makes them due later: each goes to one who asks."""
    taken: dict[str, Document] = {}
    while len(taken) < most:
        due = {"due_at": {"$lte": micros(now)}, "_id": {"$nin": [*taken]}}
        document = await database.find_and_update(collection, due, change, sort=[("due_at", 1)])
        if document is None:
            break
        taken[document["_id"]] = document
    return [*taken.values()]
