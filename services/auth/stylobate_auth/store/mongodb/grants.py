"""Grants in MongoDB: what the store and its transactions do with them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from stylobate.database.mongodb import Document, MongoManager, MongoTransaction, micros

from stylobate_auth.grant import ROLE, Grant, GrantPlace, GrantQuery, GrantQuestion
from stylobate_auth.store.mongodb.documents import given, in_force, micros_or_none, time_or_none

_IN_ORDER = [("_id.subject", 1), ("_id.permission", 1), ("_id.resource", 1)]
_LAST_CHARACTER = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


async def remove_grants_of(transaction: MongoTransaction, tenant: str, subject: str) -> None:
    """Remove all that a subject has been granted: with the account, or the role."""
    await transaction.delete("resource_grant", {"_id.tenant": tenant, "_id.subject": subject})


async def remove_grants_of_role(transaction: MongoTransaction, tenant: str, role: str) -> None:
    """Do so for a role."""
    await remove_grants_of(transaction, tenant, f"{ROLE}{role}")


class MongoGrantChanges:
    """The part of a transaction."""

    _transaction: MongoTransaction

    async def grant(self, like: Grant) -> Grant | None:
        document = await self._transaction.find_one("resource_grant", {"_id": _name(like)})
        return None if document is None else _grant_of(document)

    async def put_grant(self, grant: Grant) -> None:
        values = given(
            expires_at=micros_or_none(grant.expires_at),
            granted_at=micros_or_none(grant.granted_at),
            granted_by=grant.granted_by,
        )
        change: dict[str, Any] = {"$set": values}
        if grant.expires_at is None:
            change["$unset"] = {"expires_at": ""}
        await self._transaction.update_one("resource_grant", {"_id": _name(grant)}, change, upsert=True)

    async def remove_grant(self, like: Grant) -> bool:
        return await self._transaction.delete("resource_grant", {"_id": _name(like)}) > 0

    async def end_grants(self, now: datetime, most: int) -> list[Grant]:
        ended: list[Grant] = []
        over = {"expires_at": {"$lte": micros(now)}}
        while len(ended) < most:  # each by one statement, which waits for who removes it already, and finds the next one
            document = await self._transaction.find_and_delete("resource_grant", over, sort=[("expires_at", 1)])
            if document is None:
                break
            ended.append(_grant_of(document))
        return ended


class MongoGrants:
    """The part of the store."""

    _database: MongoManager

    async def granted(self, questions: Sequence[GrantQuestion], now: datetime, most: int) -> list[list[str]]:
        pairs = [pair for number, one in enumerate(questions) for pair in _pairs(number, one)]
        found: list[set[str]] = [set() for _ in questions]
        for number, names in await self._resources(pairs, in_force(now), most):
            found[number].update(names)
        return [_first(names, most) for names in found]

    async def covering_grants(self, questions: Sequence[GrantQuestion], now: datetime) -> list[list[Grant]]:
        wanted = [
            {_key(name) for pair in _pairs(0, one) for resource in one.resources for name in [_named(pair, resource)]}
            for one in questions
        ]
        if not (keys := set[tuple[str, ...]]().union(*wanted)):
            return [[] for _ in questions]
        asked = {"_id": {"$in": [dict(zip(_PARTS, key, strict=True)) for key in keys]}, **in_force(now)}
        grants = [*map(_grant_of, await self._database.find("resource_grant", asked, sort=_IN_ORDER))]
        return [[grant for grant in grants if _key(_name(grant)) in keys] for keys in wanted]

    async def granted_under(self, question: GrantQuestion, under: str, after: str, now: datetime, most: int) -> list[str]:
        bounds: dict[str, str] = {"$gt": max(after, under, key=str.encode)}
        if (end := _end_of(under)) is not None:
            bounds["$lt"] = end
        found = await self._resources(_pairs(0, question), {"_id.resource": bounds, **in_force(now)}, most)
        return _first({name for _, names in found for name in names}, most)

    async def grants(self, tenant: str, query: GrantQuery, after: GrantPlace | None, now: datetime, most: int) -> list[Grant]:
        asked: list[Mapping[str, Any]] = [{"_id.tenant": tenant}, in_force(now)]
        if query.subject:
            asked.append({"_id.subject": query.subject})
        if query.permission:
            asked.append({"_id.permission": query.permission})
        if query.resource.endswith("/"):
            asked.append({"_id.resource": given(**{"$gte": query.resource, "$lt": _end_of(query.resource)})})
        elif query.resource:
            asked.append({"_id.resource": query.resource})
        if after is not None:
            asked.append(_behind(*after))
        found = await self._database.find("resource_grant", {"$and": asked}, sort=_IN_ORDER, limit=most)
        return [*map(_grant_of, found)]

    async def next_grant_end(self) -> datetime | None:
        first = await self._database.find_one("resource_grant", {"expires_at": {"$gt": 0}}, sort=[("expires_at", 1)])
        return None if first is None else time_or_none(first, "expires_at")

    async def _resources(
        self, pairs: Sequence[dict[str, Any]], asked: Mapping[str, Any], most: int
    ) -> list[tuple[int, list[str]]]:
        """Return the resources of each pair: a range of the index each, read no further than asked for; all in one statement."""
        if not pairs:
            return []
        is_pair = [{"$eq": [f"$_id.{name}", f"$${name}"]} for name in ("tenant", "subject", "permission")]
        of_pair: list[Document] = [
            {"$match": {"$expr": {"$and": is_pair}, **asked}},
            {"$sort": {"_id.resource": 1}},
            {"$limit": most},
            {"$project": {"_id": 0, "resource": "$_id.resource"}},
        ]
        of_each = {"let": {name: f"$pair.{name}" for name in ("tenant", "subject", "permission")}, "pipeline": of_pair}
        pipeline: list[Document] = [
            {"$match": {"_id": "access"}},  # some document that there is, for the pairs to be joined to
            {"$project": {"_id": 0, "pair": {"$literal": [*pairs]}}},
            {"$unwind": "$pair"},
            {"$lookup": {"from": "resource_grant", **of_each, "as": "found"}},
        ]
        documents = await self._database.aggregate("access_state", pipeline)
        return [(document["pair"]["number"], [row["resource"] for row in document["found"]]) for document in documents]


def _pairs(number: int, question: GrantQuestion) -> list[dict[str, Any]]:
    return [
        {"number": number, "tenant": question.tenant, "subject": subject, "permission": permission}
        for subject in question.subjects
        for permission in question.permissions
    ]


def _behind(subject: str, permission: str, resource: str) -> dict[str, Any]:
    """Return a filter: what comes behind that place in the order of subject, permission and resource."""
    same: dict[str, Any] = {}
    behind = []
    for name, value in (("_id.subject", subject), ("_id.permission", permission), ("_id.resource", resource)):
        behind.append({**same, name: {"$gt": value}})
        same[name] = value
    return {"$or": behind}


def _end_of(prefix: str) -> str | None:
    """Return the first text behind all that begin with the prefix, as bytes are ordered; None: there is none."""
    text = prefix.rstrip(chr(_LAST_CHARACTER))
    if not text:
        return None
    following = ord(text[-1]) + 1
    return text[:-1] + chr(_SURROGATES.stop if following in _SURROGATES else following)


def _first(names: set[str], most: int) -> list[str]:
    return sorted(names, key=str.encode)[:most]


_PARTS = ("tenant", "subject", "permission", "resource")


def _name(grant: Grant) -> dict[str, str]:
    return {"tenant": grant.tenant, "subject": grant.subject, "permission": grant.permission, "resource": grant.resource}


def _named(pair: Mapping[str, Any], resource: str) -> dict[str, str]:
    return {"tenant": pair["tenant"], "subject": pair["subject"], "permission": pair["permission"], "resource": resource}


def _key(name: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(name.values())


def _grant_of(document: Document) -> Grant:
    return Grant(
        **document["_id"],
        expires_at=time_or_none(document, "expires_at"),
        granted_at=time_or_none(document, "granted_at"),
        granted_by=document["granted_by"],
    )
