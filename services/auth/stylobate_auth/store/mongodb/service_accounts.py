"""Service accounts in MongoDB: what the store and its transactions do with them."""

from stylobate.database.mongodb import MongoManager, MongoTransaction, from_micros, micros

from stylobate_auth.role import HeldRole
from stylobate_auth.service_account import ServiceAccount
from stylobate_auth.store.mongodb.roles import from_held
from stylobate_auth.store.mongodb.users import remove_account

_OF_SERVICE = {"is_service": True}


class MongoServiceAccountChanges:
    """The part of a transaction."""

    _transaction: MongoTransaction
    orphans: list[str]

    async def add_service_account(self, account: ServiceAccount) -> None:
        document = {
            "_id": account.id,
            "tenant": account.tenant,
            "email": "",
            "email_key": account.id,  # which no address is
            "display_name": account.name,
            "email_verified": False,
            "password_hash": "",
            "must_verify": False,
            "is_service": True,
            "created_at": micros(account.created_at),
            "roles": [from_held(HeldRole(role)) for role in account.roles],
        }
        await self._transaction.insert("account", [document])

    async def remove_service_account(self, tenant: str, account_id: str) -> list[str] | None:
        if await self._transaction.lock("account", {"_id": account_id, "tenant": tenant, **_OF_SERVICE}) is None:
            return None
        of_it = {"tenant": tenant, "owner_id": account_id}
        keys = [document["_id"] for document in await self._transaction.find("api_key", of_it, {"_id": 1}, sort=[("_id", 1)])]
        self.orphans += await remove_account(self._transaction, tenant, account_id)
        return keys


class MongoServiceAccounts:
    """The part of the store."""

    _database: MongoManager

    async def service_accounts(self, tenant: str, after: str, limit: int) -> list[ServiceAccount]:
        asked = {"tenant": tenant, "_id": {"$gt": after}, **_OF_SERVICE}
        return [
            ServiceAccount(
                document["tenant"],
                document["_id"],
                document["display_name"],
                tuple(sorted(held["role"] for held in document["roles"])),
                from_micros(document["created_at"]),
            )
            for document in await self._database.find("account", asked, sort=[("_id", 1)], limit=limit)
        ]
