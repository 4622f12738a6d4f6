"""API keys in MongoDB: what the store and its transactions do with them. ``over_at`` is when one ended, or was revoked."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pymongo import UpdateOne
from stylobate.database.mongodb import Document, DuplicateError, MongoManager, MongoTransaction, from_micros, micros

from stylobate_auth.api_key import ApiKey, NewApiKey
from stylobate_auth.errors import PublicKeyTakenError
from stylobate_auth.store.mongodb.documents import given, in_force, micros_or_none, time_or_none


class MongoApiKeyChanges:
    """The part of a transaction."""

    _transaction: MongoTransaction

    async def count_api_keys(self, tenant: str, owner: str, now: datetime) -> int:
        await self._transaction.lock("account", {"_id": owner, "tenant": tenant})
        held = {"tenant": tenant, "owner_id": owner, "revoked_at": None, "replaced_by": None, **in_force(now)}
        return await self._transaction.count("api_key", held)

    async def add_api_key(self, new: NewApiKey) -> None:
        key, ends_at = new.key, micros_or_none(new.key.expires_at)
        document = {
            "_id": key.id,
            "tenant": key.tenant,
            "owner_id": key.owner,
            "name": key.name,
            "secret_hash": new.secret_hash,
            "scopes": list(key.scopes),
            "allowed_cidrs": list(key.allowed_cidrs),
            "created_at": micros(key.created_at),
            "rate_limit": key.rate_limit,
        }
        public = given(
            public_key=key.public_key or None, thumbprint=new.thumbprint or None, live_thumbprint=new.thumbprint or None
        )
        try:
            await self._transaction.insert("api_key", [document | given(expires_at=ends_at, over_at=ends_at) | public])
        except DuplicateError:
            raise PublicKeyTakenError from None

    async def replace_api_key(self, key: ApiKey, successor: str, now: datetime, until: datetime) -> ApiKey | None:
        holds = {"_id": key.id, "tenant": key.tenant, "revoked_at": None, "replaced_by": None, **in_force(now)}
        ends_at = micros(until)
        change = {"$set": {"replaced_by": successor}, "$min": {"expires_at": ends_at, "over_at": ends_at}}
        document = await self._transaction.find_and_update("api_key", holds, change)
        return None if document is None else _key_of(document)

    async def limit_api_key(self, key: ApiKey, rate_limit: str, now: datetime) -> ApiKey | None:
        holds = {"_id": key.id, "tenant": key.tenant, "revoked_at": None, **in_force(now)}
        document = await self._transaction.find_and_update("api_key", holds, {"$set": {"rate_limit": rate_limit}})
        return None if document is None else _key_of(document)

    async def end_api_key(self, key: ApiKey, at: datetime) -> bool:
        holds = {"_id": key.id, "tenant": key.tenant, "revoked_at": None}
        return (await self._transaction.update_one("api_key", holds, revoked(at))).matched > 0


class MongoApiKeys:
    """The part of the store."""

    _database: MongoManager

    async def api_key(self, tenant: str, key_id: str) -> ApiKey | None:
        document = await self._database.find_one("api_key", {"_id": key_id, "tenant": tenant})
        return None if document is None else _key_of(document)

    async def api_keys(self, tenant: str, owner: str, after: str, limit: int) -> list[ApiKey]:
        asked = {"tenant": tenant, "owner_id": owner, "revoked_at": None, "_id": {"$gt": after}}
        return [*map(_key_of, await self._database.find("api_key", asked, sort=[("_id", 1)], limit=limit))]

    async def api_keys_by_id(self, ids: Sequence[str]) -> Mapping[str, NewApiKey]:
        documents = await self._database.find("api_key", {"_id": {"$in": [*ids]}})
        return {
            document["_id"]: NewApiKey(_key_of(document), document["secret_hash"], document.get("thumbprint", ""))
            for document in documents
        }

    async def public_keys(self, tenant: str, owner: str) -> list[ApiKey]:
        asked = {"tenant": tenant, "owner_id": owner, "live_thumbprint": {"$exists": True}}
        return [*map(_key_of, await self._database.find("api_key", asked, sort=[("_id", -1)]))]

    async def use_assertion(self, tenant: str, client: str, jti_hash: bytes, until: datetime) -> bool:
        used = {"_id": {"tenant": tenant, "client_id": client, "jti_hash": jti_hash}, "expires_at": micros(until)}
        try:
            await self._database.insert("client_assertion", [used])
        except DuplicateError:
            return False
        return True

    async def note_api_keys_used(self, used: Mapping[tuple[str, str], datetime]) -> None:
        changes = [
            UpdateOne({"_id": key, "tenant": tenant}, {"$max": {"last_used_at": micros(at)}})
            for (tenant, key), at in sorted(used.items())
        ]
        if changes:
            await self._database.bulk("api_key", changes, ordered=False)


def revoked(at: datetime) -> dict[str, Any]:
    """Return the change that revokes a key. Its owner may have one with the same public key from then on."""
    return {"$set": {"revoked_at": micros(at)}, "$min": {"over_at": micros(at)}, "$unset": {"live_thumbprint": ""}}


def _key_of(document: Document) -> ApiKey:
    return ApiKey(
        tenant=document["tenant"],
        id=document["_id"],
        owner=document["owner_id"],
        name=document["name"],
        scopes=tuple(document["scopes"]),
        allowed_cidrs=tuple(document["allowed_cidrs"]),
        created_at=from_micros(document["created_at"]),
        expires_at=time_or_none(document, "expires_at"),
        revoked_at=time_or_none(document, "revoked_at"),
        last_used_at=time_or_none(document, "last_used_at"),
        replaced_by=document.get("replaced_by", ""),
        rate_limit=document["rate_limit"],
        public_key=document.get("public_key", ""),
    )
