"""Signing keys in MongoDB: what the store and its transactions do with them."""

from collections.abc import Sequence
from datetime import datetime

from stylobate.database.mongodb import Document, MongoManager, MongoTransaction, from_micros, micros

from stylobate_auth.signing_key import SigningKey

SIGNING_KEYS = "signing_keys"
"""A document of ``turn``: two processes whose schedules are due at the same moment add one key."""
_IN_ORDER = [("signs_from", 1), ("_id", 1)]


class MongoSigningKeyChanges:
    """The part of a transaction."""

    _transaction: MongoTransaction

    async def hold_signing_keys(self) -> Sequence[SigningKey]:
        await self._transaction.lock("turn", {"_id": SIGNING_KEYS})
        return [*map(_key_of, await self._transaction.find("signing_key", {}, sort=_IN_ORDER))]

    async def add_signing_key(self, key: SigningKey) -> None:
        document = {
            "_id": key.id,
            "algorithm": key.algorithm,
            "public_key": key.public_key,
            "sealed": key.sealed,
            "sealed_by": key.sealed_by,
            "published_at": micros(key.published_at),
            "signs_from": micros(key.signs_from),
        }
        await self._transaction.insert("signing_key", [document])


class MongoSigningKeys:
    """The part of the store."""

    _database: MongoManager

    async def signing_keys(self, now: datetime) -> tuple[Sequence[SigningKey], Sequence[str]]:
        keys = await self._database.find("signing_key", {}, sort=_IN_ORDER)
        issuers = await self._database.find("token_issuer", {"counts_until": {"$gt": micros(now)}}, sort=[("_id", 1)])
        return [*map(_key_of, keys)], [document["_id"] for document in issuers]

    async def reseal_signing_key(self, key: SigningKey, sealed: bytes, sealed_by: str) -> None:
        as_it_was = {"_id": key.id, "sealed_by": key.sealed_by}
        await self._database.update_one("signing_key", as_it_was, {"$set": {"sealed": sealed, "sealed_by": sealed_by}})

    async def keep_issuer(self, issuer: str, until: datetime) -> None:
        await self._database.update_one("token_issuer", {"_id": issuer}, {"$max": {"counts_until": micros(until)}}, upsert=True)

    async def remove_signing_keys(self, used_before: datetime) -> int:
        in_use = {"signs_from": {"$lte": micros(used_before)}}
        removed = await self._database.delete("token_issuer", {"counts_until": {"$lte": micros(used_before)}})
        newest = await self._database.find_one("signing_key", in_use, sort=[("signs_from", -1)])
        if newest is not None:
            removed += await self._database.delete("signing_key", {"signs_from": {"$lt": newest["signs_from"]}})
        return removed


def _key_of(document: Document) -> SigningKey:
    return SigningKey(
        id=document["_id"],
        algorithm=document["algorithm"],
        public_key=document["public_key"],
        sealed=document["sealed"],
        sealed_by=document["sealed_by"],
        published_at=from_micros(document["published_at"]),
        signs_from=from_micros(document["signs_from"]),
    )
