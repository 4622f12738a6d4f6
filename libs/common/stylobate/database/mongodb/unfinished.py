"""Whether a restore was begun in a service's database, and did not come to its end: nothing there is whole then."""

from pymongo.asynchronous.database import AsyncDatabase

from stylobate.database.mongodb.statements import Document

RESTORE = "stylobate_restore"
"""The collection of the mark, and of who is at work."""
MARK = "mark"
UNFINISHED = (
    "a restore was begun in this database, and did not come to its end: run `stylobate restore` with that backup again, "
    "or drop the database"
)


async def is_unfinished(database: AsyncDatabase[Document]) -> bool:
    """Return whether the mark stands in a database."""
    return await database.get_collection(RESTORE).find_one({"_id": MARK}, {"_id": 1}) is not None
