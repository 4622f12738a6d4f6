"""What MongoDB keeps of a person, as it is given out to them: members by name, so that none is given out unmeant."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from stylobate.database.mongodb import Document, MongoManager, from_micros

from stylobate_auth.account_sealing import ADDRESS, NAME, AccountSealing
from stylobate_auth.store.mongodb.documents import OF_PERSON

_MEMBERS = {
    "account": "_id email display_name email_verified created_at disabled_at new_email old_email",
    "roles": "role assigned_at expires_at",
    "grants": "grant granted_at expires_at",
    "sessions": "_id opened_at seen_at expires_at ended_at end_reason address agent",
    "api_keys": ("_id name scopes allowed_cidrs rate_limit created_at expires_at revoked_at last_used_at replaced_by"),
    "mails": "_id kind asked_at expires_at handed_over used_at",
    "login_places": "place expires_at",
}
"""What is given out of each part; the first one names a row."""
_COLLECTIONS = {"sessions": ("session", "account_id"), "api_keys": ("api_key", "owner_id"), "mails": ("mail", "account_id")}
_SEALED = {"email": ADDRESS, "display_name": NAME, "new_email": ADDRESS, "old_email": ADDRESS}
"""Members that are stored sealed, and what of an account they are."""


class MongoKeptData:
    """The part of the store."""

    _database: MongoManager
    sealing: AccountSealing

    async def kept(self, tenant: str, account_id: str, part: str, after: str, limit: int) -> list[Mapping[str, Any]]:
        found = [_row(part, document) for document in await self._kept(tenant, account_id, part, after, limit)]
        for row in found if part == "account" else ():
            for member, what in _SEALED.items():
                row[member] = row[member] and await self.sealing.opened(tenant, account_id, what, row[member])
        return [*found]

    async def _kept(self, tenant: str, account_id: str, part: str, after: str, limit: int) -> list[Document]:
        """Return the documents of a part, or what they are of within the account's own."""
        if part in _COLLECTIONS:
            collection, owner = _COLLECTIONS[part]
            asked = {"tenant": tenant, owner: account_id, "_id": {"$gt": after}}
            return await self._database.find(collection, asked, sort=[("_id", 1)], limit=limit)
        if part == "login_places":
            asked = {"tenant": tenant, "account_id": account_id, "_id.place": {"$gt": after}}
            found = await self._database.find("login_place", asked, sort=[("_id.place", 1)], limit=limit)
            return [{**document, **document["_id"]} for document in found]
        if part == "grants":
            named = {"$concat": ["$_id.permission", " ", "$_id.resource"]}
            pipeline: list[dict[str, Any]] = [
                {"$match": {"_id.tenant": tenant, "_id.subject": account_id}},
                {"$set": {"grant": named}},
                {"$match": {"grant": {"$gt": after}}},
                {"$sort": {"grant": 1}},
                {"$limit": limit},
            ]
            return await self._database.aggregate("resource_grant", pipeline)
        account = await self._database.find_one("account", {"_id": account_id, "tenant": tenant, **OF_PERSON})
        if account is None:
            return []
        if part == "account":
            return [account] if account_id > after else []
        held = sorted(account["roles"], key=lambda one: str(one["role"]))
        return [one for one in held if one["role"] > after][:limit]


def _row(part: str, document: Document) -> dict[str, Any]:
    if part == "mails":
        document = {**document, "handed_over": "due_at" not in document}
    return {name.lstrip("_"): _value(name, document.get(name)) for name in _MEMBERS[part].split()}


def _value(name: str, stored: Any) -> Any:
    return _time(stored) if name.endswith("_at") else stored


def _time(stored: int | None) -> datetime | None:
    return None if stored is None else from_micros(stored)
