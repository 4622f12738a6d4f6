"""Roles in MongoDB: what the store and its transactions do with them. An account's document has those that it holds."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from stylobate.database.mongodb import Document, MongoManager, MongoTransaction, micros
from stylobate.ids import new_id

from stylobate_auth.role import EndedRole, HeldRole
from stylobate_auth.role_book import DefinedRole
from stylobate_auth.store.mongodb.documents import OF_PERSON, given, micros_or_none, time_or_none
from stylobate_auth.store.mongodb.grants import remove_grants_of_role
from stylobate_auth.store.roles import RolesHeld

_FIRST_END = {"$set": {"roles_end": {"$ifNull": [{"$min": "$roles.expires_at"}, "$$REMOVE"]}}}
"""When the first role of an account ends: kept beside them, to be found by."""
CHANGES = "auth_changes"
"""Told when the deny-list or the access version has changed."""
_COUNTED = 1000
ADMINISTRATORS, DEFINED_ROLES = "administrators", "roles"
"""Documents of ``turn``, which whoever changes these holds."""


class MongoRoleChanges:
    """The part of a transaction."""

    _transaction: MongoTransaction
    changes_access: bool

    async def held_roles(self, tenant: str, account_id: str) -> list[HeldRole]:
        return await _held(self._transaction, tenant, account_id)

    async def put_held_role(self, tenant: str, account_id: str, held: HeldRole) -> None:
        roles = {"$concatArrays": [_but(held.role), {"$literal": [from_held(held)]}]}
        await self._keep_roles(tenant, account_id, roles)

    async def remove_held_role(self, tenant: str, account_id: str, role: str) -> None:
        await self._keep_roles(tenant, account_id, _but(role))

    async def hold_administrators(self, tenant: str) -> set[str]:
        await self._transaction.lock("turn", {"_id": ADMINISTRATORS})
        for_good = {"roles": {"$elemMatch": {"role": "admin", "expires_at": None}}, "disabled_at": None, **OF_PERSON}
        found = await self._transaction.find("account", {"tenant": tenant, **for_good}, {"_id": 1})
        return {document["_id"] for document in found}

    async def end_roles(self, now: datetime, most: int) -> list[EndedRole]:
        ended: list[EndedRole] = []
        lasts = {"$gt": [{"$ifNull": ["$$held.expires_at", micros(now) + 1]}, micros(now)]}
        change: list[Document] = [{"$set": {"roles": {"$filter": {"input": "$roles", "as": "held", "cond": lasts}}}}, _FIRST_END]
        while len(ended) < most:
            due = {"roles_end": {"$lte": micros(now)}}
            document = await self._transaction.find_and_update("account", due, change, sort=[("roles_end", 1)], before=True)
            if document is None:
                break
            over = [held for held in document["roles"] if "expires_at" in held and held["expires_at"] <= micros(now)]
            ended += [EndedRole(document["tenant"], document["_id"], held["role"]) for held in over]
        return ended

    async def hold_defined_roles(self) -> list[DefinedRole]:
        await self._transaction.lock("turn", {"_id": DEFINED_ROLES})
        return [*map(_defined_of, await self._transaction.find("role", {}, sort=[("_id", 1)]))]

    async def hold_roles(self, tenant: str, names: Sequence[str]) -> set[str]:
        these = {"_id": {"$in": [_name(tenant, name) for name in names]}}
        await self._transaction.update_many("role", these, {"$inc": {"locks": 1}})
        return {document["_id"]["name"] for document in await self._transaction.find("role", these, {"_id": 1})}

    async def put_defined_role(self, role: DefinedRole) -> None:
        values = given(
            description=role.description,
            permissions=list(role.permissions),
            inherits=list(role.inherits),
            changed_at=micros_or_none(role.changed_at),
        )
        await self._transaction.update_one("role", {"_id": _name(role.tenant, role.name)}, {"$set": values}, upsert=True)

    async def remove_defined_role(self, tenant: str, name: str) -> None:
        await self._transaction.delete("role", {"_id": _name(tenant, name)})
        everywhere = {"tenant": tenant, "roles.role": name}
        await self._transaction.update_many("account", everywhere, [{"$set": {"roles": _but(name)}}, _FIRST_END])
        await remove_grants_of_role(self._transaction, tenant, name)

    async def change_access(self) -> None:
        """See the port. A change is noted, and counted once it is committed: see :meth:`MongoRoles.count_changes`."""
        if not self.changes_access:
            await self._transaction.insert("access_change", [{"_id": new_id()}])
        self.changes_access = True

    async def _keep_roles(self, tenant: str, account_id: str, roles: Mapping[str, Any]) -> None:
        whose = {"_id": account_id, "tenant": tenant}
        await self._transaction.update_one("account", whose, [{"$set": {"roles": roles}}, _FIRST_END])


class MongoRoles:
    """The part of the store. The version is read first: what is read after it is never older than the version says."""

    _database: MongoManager

    async def roles(self, subjects: Sequence[tuple[str, str]], now: datetime) -> tuple[int, RolesHeld]:
        ids = [subject for _, subject in subjects]
        of_them: list[Document] = [{"$match": {"_id": {"$in": ids}}}, {"$project": {"tenant": 1, "roles": 1}}]
        version, accounts = await self._with_version("account", of_them)
        asked, held = set(subjects), {}
        for document in accounts:
            names = sorted(one["role"] for one in document["roles"] if _lasts(one, now))
            if names and (document["tenant"], document["_id"]) in asked:
                held[document["tenant"], document["_id"]] = tuple(names)
        return version, held

    async def defined_roles(self) -> tuple[int, list[DefinedRole]]:
        version, roles = await self._with_version("role", [{"$sort": {"_id": 1}}])
        return version, [*map(_defined_of, roles)]

    async def count_changes(self) -> None:
        """Raise the version by what was noted, and tell.

        A version that transactions raised would have them wait for each other from their beginning: whoever comes second is
        undone. So they note a change each, and this counts, after each commit and, should a process be killed in between, before
        the next look of any other.
        """

        async def count(transaction: MongoTransaction) -> bool:
            noted = [document["_id"] for document in await transaction.find("access_change", {}, limit=_COUNTED)]
            if noted:
                await transaction.delete("access_change", {"_id": {"$in": noted}})
                await transaction.update_one("access_state", {"_id": "access"}, {"$inc": {"version": len(noted)}})
            return bool(noted)

        if await self._database.transact(count):
            await self._database.notify(CHANGES)

    async def held_roles(self, tenant: str, account_id: str) -> list[HeldRole]:
        return await _held(self._database, tenant, account_id)

    async def next_role_end(self) -> datetime | None:
        first = await self._database.find_one("account", {"roles_end": {"$gt": 0}}, {"roles_end": 1}, sort=[("roles_end", 1)])
        return None if first is None else time_or_none(first, "roles_end")

    async def _with_version(self, collection: str, pipeline: Sequence[Mapping[str, Any]]) -> tuple[int, list[Document]]:
        """Return the version, and what the pipeline gives: a document each, for together they may be more than one can hold."""
        joined = {"$lookup": {"from": collection, "pipeline": [*pipeline], "as": "found"}}
        each = {"$unwind": {"path": "$found", "preserveNullAndEmptyArrays": True}}
        documents = await self._database.aggregate("access_state", [{"$match": {"_id": "access"}}, joined, each])
        return documents[0]["version"], [document["found"] for document in documents if "found" in document]


def from_held(held: HeldRole) -> dict[str, Any]:
    """Return a role as an account's document has it."""
    times = given(expires_at=micros_or_none(held.expires_at), assigned_at=micros_or_none(held.assigned_at))
    return {"role": held.role, **times} | ({"assigned_by": held.assigned_by} if held.assigned_by else {})


def _but(role: str) -> dict[str, Any]:
    """Return what gives an account's roles without one."""
    return {"$filter": {"input": "$roles", "as": "held", "cond": {"$ne": ["$$held.role", {"$literal": role}]}}}


async def _held(database: MongoManager | MongoTransaction, tenant: str, account_id: str) -> list[HeldRole]:
    document = await database.find_one("account", {"_id": account_id, "tenant": tenant}, {"roles": 1})
    roles = [] if document is None else document["roles"]
    return sorted(
        (
            HeldRole(one["role"], time_or_none(one, "expires_at"), time_or_none(one, "assigned_at"), one.get("assigned_by", ""))
            for one in roles
        ),
        key=lambda held: held.role,
    )


def _lasts(held: Document, now: datetime) -> bool:
    return "expires_at" not in held or held["expires_at"] > micros(now)


def _name(tenant: str, name: str) -> dict[str, str]:
    return {"tenant": tenant, "name": name}


def _defined_of(document: Document) -> DefinedRole:
    return DefinedRole(
        **document["_id"],
        description=document["description"],
        permissions=tuple(document["permissions"]),
        inherits=tuple(document["inherits"]),
        changed_at=time_or_none(document, "changed_at"),
    )
