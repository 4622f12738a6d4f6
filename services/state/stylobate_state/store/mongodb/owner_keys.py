"""Keys of owners in MongoDB."""

from collections.abc import Collection, Sequence

from stylobate.database.mongodb import Document, DuplicateError, MongoManager

from stylobate_state.store.owner_keys import KeptOwnerKey, OwnerKeyCount

_COLLECTION = "owner_key"
_COUNTS: list[Document] = [
    {
        "$group": {
            "_id": {"purpose": "$purpose", "tenant": "$tenant", "owner": "$owner"},
            "keys": {"$sum": 1},
            "is_there": {"$max": {"$cond": [{"$gt": ["$owner", ""]}, 1, 0]}},
        }
    },
    {
        "$group": {
            "_id": "$_id.purpose",
            "keys": {"$sum": {"$multiply": ["$keys", "$is_there"]}},
            "owners": {"$sum": "$is_there"},
            "tenants": {"$addToSet": {"$cond": ["$is_there", "$_id.tenant", None]}},
            "all": {"$sum": "$keys"},
        }
    },
    {"$sort": {"_id": 1}},
]
"""By owner first; destroyed ones have none, and count as one of each tenant that is not there."""
_GONE = {"$unset": {"owner": "", "sealed": ""}}


class MongoOwnerKeyStore:
    """An OwnerKeyStore on the service's migrations."""

    def __init__(self, database: MongoManager) -> None:
        self._database = database

    async def find(self, ids: Collection[str]) -> Sequence[KeptOwnerKey]:
        """See OwnerKeyStore."""
        return [_key_of(one) for one in await self._database.find(_COLLECTION, {"_id": {"$in": [*ids]}})]

    async def current(self, sealed_by: str, tenant: str, owner: str) -> KeptOwnerKey | None:
        """See OwnerKeyStore."""
        found = await self._database.find_one(_COLLECTION, {"sealed_by": sealed_by, "tenant": tenant, "owner": owner})
        return None if found is None else _key_of(found)

    async def add(self, key: KeptOwnerKey) -> bool:
        """See OwnerKeyStore."""
        whose = {"purpose": key.purpose, "tenant": key.tenant, "owner": key.owner}
        values = whose | {"sealed_by": key.sealed_by, "sealed": key.sealed}
        try:
            await self._database.update_one(_COLLECTION, {"_id": key.id}, {"$set": values}, upsert=True)
        except DuplicateError:
            return False
        return True

    async def counts(self) -> Sequence[OwnerKeyCount]:
        """See OwnerKeyStore."""
        found = await self._database.aggregate(_COLLECTION, _COUNTS)
        return [
            OwnerKeyCount(
                one["_id"],
                one["keys"],
                one["owners"],
                len([tenant for tenant in one["tenants"] if tenant is not None]),
                one["all"] - one["keys"],
            )
            for one in found
        ]

    async def destroy(self, purpose: str, tenant: str, owner: str) -> int:
        """See OwnerKeyStore."""
        whose = {"purpose": purpose, "tenant": tenant, "owner": owner}
        return (await self._database.update_many(_COLLECTION, whose, _GONE)).matched


def _key_of(document: Document) -> KeptOwnerKey:
    return KeptOwnerKey(
        document["_id"],
        document["purpose"],
        document["tenant"],
        document.get("owner", ""),
        document["sealed_by"],
        document.get("sealed", b""),
    )
