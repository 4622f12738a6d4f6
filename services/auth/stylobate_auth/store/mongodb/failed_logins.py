"""Failed logins in MongoDB: what the store and its transactions do with them."""

from collections.abc import Sequence
from datetime import datetime

from pymongo import UpdateOne
from stylobate.database.mongodb import Document, MongoManager, MongoTransaction, from_micros, micros

from stylobate_auth.failed_login import FailedLogins


class MongoFailedLoginChanges:
    """The part of a transaction."""

    _transaction: MongoTransaction

    async def take_failed_logins(self, now: datetime, most: int) -> list[FailedLogins]:
        taken: list[Document] = []
        due, in_order = {"tell_at": {"$lte": micros(now)}}, [("tell_at", 1), ("_id", 1)]
        while len(taken) < most:  # each by one statement, which waits for who takes it already, and finds the next one
            document = await self._transaction.find_and_delete("failed_login", due, sort=in_order)
            if document is None:
                break
            taken.append(document)
        ids = [document["_id"] for document in taken]
        known = {one["_id"] for one in await self._transaction.find("account", {"_id": {"$in": ids}}, {"_id": 1})}
        return [_failed_of(document) for document in taken if document["_id"] in known]


class MongoFailedLoginCounts:
    """The part of the store."""

    _database: MongoManager

    async def add_failed_logins(self, failed: Sequence[FailedLogins], tell_at: datetime) -> None:
        changes = [
            UpdateOne(
                {"_id": one.account_id, "tenant": one.tenant},
                {
                    "$inc": {"count": one.count},
                    "$min": {"first_at": micros(one.first_at)},
                    "$max": {"last_at": micros(one.last_at)},
                    "$setOnInsert": {"tell_at": micros(tell_at)},
                },
                upsert=True,
            )
            for one in failed
        ]
        if changes:
            await self._database.bulk("failed_login", changes, ordered=False)


def _failed_of(document: Document) -> FailedLogins:
    first_at, last_at = from_micros(document["first_at"]), from_micros(document["last_at"])
    return FailedLogins(document["tenant"], document["_id"], document["count"], first_at, last_at)
