"""People's accounts in MongoDB, as administrators see and change them: what the store and its transactions do."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from stylobate.database.mongodb import Document, MongoManager, MongoTransaction, from_micros, micros

from stylobate_auth.account_sealing import AccountSealing
from stylobate_auth.model import Account
from stylobate_auth.store.mongodb.api_keys import revoked
from stylobate_auth.store.mongodb.documents import OF_PERSON, account_as_far, account_of, given, time_or_none
from stylobate_auth.store.mongodb.grants import remove_grants_of
from stylobate_auth.store.mongodb.work import take_due
from stylobate_auth.user import UserDeletion, UserPlace, UserQuery

_OWN = ("session", "login_place", "mail")
"""Collections of documents that go with their account."""


async def remove_account(transaction: MongoTransaction, tenant: str, account_id: str) -> list[str]:
    """Remove an account with all that is its own, but for spent tokens; return the ids of its sessions."""
    whose = {"tenant": tenant, "account_id": account_id}
    sessions = [document["_id"] for document in await transaction.find("session", whose, {"_id": 1}, sort=[("_id", 1)])]
    await transaction.delete("account", {"_id": account_id, "tenant": tenant})
    for collection in _OWN:
        await transaction.delete(collection, whose)
    await transaction.delete("api_key", {"tenant": tenant, "owner_id": account_id})
    await remove_grants_of(transaction, tenant, account_id)
    return sessions


class MongoUserChanges:
    """The part of a transaction."""

    _transaction: MongoTransaction
    sealing: AccountSealing
    orphans: list[str]

    async def hold_user(self, tenant: str, account_id: str) -> Account | None:
        document = await self._transaction.lock("account", {"_id": account_id, "tenant": tenant, **OF_PERSON})
        return None if document is None else await account_of(document, self.sealing)

    async def set_disabled(self, tenant: str, account_id: str, at: datetime | None) -> None:
        change = {"$unset": {"disabled_at": ""}} if at is None else {"$set": {"disabled_at": micros(at)}}
        await self._transaction.update_one("account", {"_id": account_id, "tenant": tenant}, change)

    async def begin_deletion(self, tenant: str, account_id: str, at: datetime) -> None:
        self.orphans += await remove_account(self._transaction, tenant, account_id)
        begun = {"tenant": tenant, "began_at": micros(at), "due_at": micros(at)}
        await self._transaction.update_one("user_deletion", {"_id": account_id}, {"$setOnInsert": begun}, upsert=True)

    async def finish_deletion(self, tenant: str, account_id: str, at: datetime) -> bool:
        going_on = {"_id": account_id, "tenant": tenant, "done_at": None}
        done = {"$set": {"done_at": micros(at)}, "$unset": {"due_at": ""}}
        return (await self._transaction.update_one("user_deletion", going_on, done)).matched > 0

    async def end_api_keys(self, tenant: str, account_id: str, at: datetime) -> list[str]:
        held = {"tenant": tenant, "owner_id": account_id, "revoked_at": None}
        ids = [document["_id"] for document in await self._transaction.find("api_key", held, {"_id": 1}, sort=[("_id", 1)])]
        await self._transaction.update_many("api_key", {"_id": {"$in": ids}}, revoked(at))
        return ids


class MongoUsers:
    """The part of the store."""

    _database: MongoManager
    sealing: AccountSealing

    async def user(self, tenant: str, account_id: str) -> Account | None:
        document = await self._database.find_one("account", {"_id": account_id, "tenant": tenant, **OF_PERSON})
        return None if document is None else await account_of(document, self.sealing)

    async def users_by_id(self, tenant: str, ids: Sequence[str]) -> list[Account]:
        documents = await self._database.find("account", {"_id": {"$in": [*ids]}, "tenant": tenant, **OF_PERSON})
        return [await account_as_far({**document, "roles": []}, self.sealing) for document in documents]

    async def users(self, tenant: str, query: UserQuery, after: UserPlace | None, limit: int) -> list[Account]:
        asked: dict[str, Any] = {"tenant": tenant, **OF_PERSON}
        if query.email:
            asked["email_key"] = {"$in": [*await self.sealing.indexes(tenant, query.email)]}
        if query.role:
            asked["roles.role"] = query.role
        since, until = query.created_after, query.created_before
        if after is not None:  # also as a bound of the index, or all before it would be read
            since = after.created_at if since is None else max(since, after.created_at)
            place = micros(after.created_at)
            asked["$or"] = [{"created_at": {"$gt": place}}, {"created_at": place, "_id": {"$gt": after.id}}]
        if bounds := given(**{"$gte": since and micros(since), "$lt": until and micros(until)}):
            asked["created_at"] = bounds
        documents = await self._database.find("account", asked, sort=[("created_at", 1), ("_id", 1)], limit=limit)
        return [await account_as_far(document, self.sealing) for document in documents]

    async def deletion(self, tenant: str, account_id: str) -> UserDeletion | None:
        document = await self._database.find_one("user_deletion", {"_id": account_id, "tenant": tenant})
        return None if document is None else _deletion_of(document)

    async def take_deletions(self, now: datetime, until: datetime, most: int) -> list[UserDeletion]:
        documents = await take_due(self._database, "user_deletion", now, {"$set": {"due_at": micros(until)}}, most)
        return [*map(_deletion_of, documents)]

    async def delay_deletion(self, deletion: UserDeletion, until: datetime) -> None:
        going_on = {"_id": deletion.id, "tenant": deletion.tenant, "done_at": None}
        await self._database.update_one("user_deletion", going_on, {"$set": {"due_at": micros(until)}})


def _deletion_of(document: Document) -> UserDeletion:
    began_at = from_micros(document["began_at"])
    return UserDeletion(document["tenant"], document["_id"], began_at, time_or_none(document, "done_at"))
