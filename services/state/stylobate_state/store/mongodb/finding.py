"""How objects are found by an index in MongoDB: the entries of its ranges, then the objects, all as they stood at one moment."""

from dataclasses import replace
from typing import Any

from stylobate.database.mongodb import Document

from stylobate_state.model import ByteRange, Indexed, IndexQuery
from stylobate_state.store.mongodb.documents import STATE, state_of
from stylobate_state.store.mongodb.indexes import ENTRY, as_bytes, as_text

_UP, _DOWN = 1, -1


def pipeline(id_: int, query: IndexQuery, limit: int) -> list[Document]:
    """Return the stages that give the objects of a query in its order, each with ``place`` and ``state``."""
    return [*_placed(id_, query, limit), *_with_objects(query.index.namespace)]


def counting(id_: int, query: IndexQuery) -> list[Document]:
    """Return the stages that count the entries that a query finds, up to its limit."""
    return [*_entries(id_, query, query.limit), {"$limit": query.limit}, {"$count": "found"}]


def everything(id_: int, query: IndexQuery, limit: int) -> list[Document]:
    """Return the stages that give what the ranges hold, in any order, each with ``state``."""
    return [*_entries(id_, query, limit), {"$limit": limit}, *_with_objects(query.index.namespace)]


def indexed(found: Document) -> Indexed:
    """Return what :func:`pipeline` gave."""
    return Indexed(state_of(found["state"]), as_bytes(found["place"]))


def _placed(id_: int, query: IndexQuery, limit: int) -> list[Document]:
    """Return the stages that merge the ranges by place and key."""
    way = _DOWN if query.is_descending else _UP
    stages: list[Document] = []
    for number, part in enumerate(query.ranges):
        cut = part.cut
        place: Any = {"$substrCP": ["$sort", cut, {"$strLenCP": "$sort"}]} if cut else "$sort"
        one: list[Document] = [
            {"$match": _within(id_, query, part)},
            {"$sort": {"sort": way, "_id.key": way}},
            {"$limit": limit},
            {"$project": {"key": "$_id.key", "tenant": "$_id.tenant", "place": place}},
        ]
        stages += _further(one) if number else one
    if len(query.ranges) > 1 or any(part.cut for part in query.ranges):
        stages += [{"$sort": {"place": way, "key": way}}, {"$limit": limit}]
    return stages


def _entries(id_: int, query: IndexQuery, limit: int) -> list[Document]:
    """Return the stages that give the entries of all ranges, from their beginnings on."""
    query = replace(query, after=None)
    stages: list[Document] = []
    for number, part in enumerate(query.ranges):
        one: list[Document] = [
            {"$match": _within(id_, query, part)},
            {"$limit": limit},
            {"$project": {"key": "$_id.key", "tenant": "$_id.tenant"}},
        ]
        stages += _further(one) if number else one
    return stages


def _further(stages: list[Document]) -> list[Document]:
    return [{"$unionWith": {"coll": ENTRY, "pipeline": stages}}]


def _with_objects(namespace: str) -> list[Document]:
    at = {"tenant": "$tenant", "namespace": {"$literal": namespace}, "key": "$key"}
    return [
        {"$project": {"place": 1, "at": at}},
        {"$lookup": {"from": STATE, "localField": "at", "foreignField": "_id", "as": "state"}},
        {"$unwind": "$state"},
    ]


def _within(id_: int, query: IndexQuery, part: ByteRange) -> dict[str, Any]:
    """Return the condition on the entries of a range, behind where the page before ended."""
    low, high = as_text(part.low), as_text(part.high)
    condition: dict[str, Any] = {"_id.index": id_, "_id.tenant": query.tenant}
    if query.after is None:
        condition["sort"] = {"$gte": low, "$lt": high}
    else:
        place, key = query.after
        at = as_text(part.low[: part.cut] + place)
        if query.is_descending:
            condition |= {"sort": {"$gte": low, "$lt": high}}
            if at < high:
                condition |= {"sort": {"$gte": low, "$lte": at}, "$or": [{"sort": {"$lt": at}}, {"_id.key": {"$lt": key}}]}
        else:
            condition |= {"sort": {"$gte": low, "$lt": high}}
            if at >= low:
                condition |= {"sort": {"$gte": at, "$lt": high}, "$or": [{"sort": {"$gt": at}}, {"_id.key": {"$gt": key}}]}
    return condition | _whose(query)


def _whose(query: IndexQuery) -> dict[str, Any]:
    if query.keys is not None:
        among: list[Document] = [{"_id.key": {"$in": sorted(query.keys)}}]
        return {"$and": [{"$or": [{"owner": query.owner}, *among] if query.owner is not None else among}]}
    return {} if query.owner is None else {"owner": query.owner}
