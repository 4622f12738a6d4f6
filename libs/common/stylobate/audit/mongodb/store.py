"""The audit trail in MongoDB: many records in one message, each with the digest that it is sealed by."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import orjson
from bson.int64 import Int64

from stylobate.audit.query import AuditPage, AuditQuery, Place
from stylobate.audit.record import AuditRecord, Outcome
from stylobate.database.mongodb import Document, DuplicateError, MongoManager, MongoTransaction, from_micros, micros
from stylobate.errors import ValueRefusedError

RECORDS = "audit_record"
SCANNED = 10_000
"""How many records one reading looks at."""
_LATEST_FIRST = {"time": -1, "_id": -1}
_OUTCOMES = frozenset(map(str, Outcome))
_NO_BLOCK = Int64(0)
_SAID = itemgetter("_id", "time", "tenant", "actor", "via", "action", "target", "outcome", "reason", "request_id", "detail")
"""What a record's digest is made of, in this order."""
_LEAST_BYTES = 2000
_NUL = b"\\u0000"


class MongoAuditStore:
    """The port on the migrations of ``stylobate.audit``."""

    def __init__(self, database: MongoManager) -> None:
        self._database = database

    async def insert(self, records: Sequence[AuditRecord], transaction: MongoTransaction | None = None) -> None:
        documents = _documents(records)
        if transaction is not None:
            await _added(transaction, documents)
        elif len(documents) == 1:
            (one,) = documents
            await self._database.update_one(RECORDS, {"_id": one.pop("_id")}, {"$setOnInsert": one}, upsert=True)
        else:
            try:
                await self._database.transact(lambda own: _written(own, documents))
            except DuplicateError:  # some are there already, which is rare: nothing of these was written
                await self._database.transact(lambda own: _added(own, documents))

    async def read(self, query: AuditQuery, limit: int) -> AuditPage:
        where = _where(query)
        begins = query.action.endswith("*")
        narrowed: dict[str, Any] = {"actor": query.actor, "target": query.target, "outcome": str(query.outcome or "")}
        narrowed = {name: value for name, value in narrowed.items() if value}
        if query.action:
            prefix = query.action[:-1]
            narrowed["action"] = {"$gte": prefix, "$lt": prefix + "\U0010ffff"} if begins else query.action
        scanned: list[dict[str, Any]] = [{"$match": where}, {"$sort": _LATEST_FIRST}, {"$limit": SCANNED}]
        rows = await self._database.aggregate(RECORDS, [*scanned, {"$match": narrowed}, {"$limit": limit}])
        records = [_record(row) for row in rows]
        if len(records) == limit:
            return AuditPage(records, Place.of(records[-1]))
        last = await self._database.aggregate(RECORDS, [*scanned, {"$skip": SCANNED - 1}, {"$project": {"time": 1}}])
        return AuditPage(records, Place(from_micros(last[0]["time"]), last[0]["_id"]) if last else None)


def _where(query: AuditQuery) -> dict[str, Any]:
    """Return what an index narrows: whose records, of when, and of whom or of what."""
    time: dict[str, int] = {}
    if query.since is not None:
        time["$gte"] = _bounded(query.since)
    if query.until is not None:
        time["$lt"] = _bounded(query.until)
    where: dict[str, Any] = {"tenant": query.tenant}
    if time:
        where["time"] = time
    if query.target:
        where["target"] = query.target
    elif query.actor:
        where["actor"] = query.actor
    if query.before is not None:
        at = micros(query.before.time)
        where["$or"] = [{"time": {"$lt": at}}, {"time": at, "_id": {"$lt": query.before.id}}]
    return where


def _bounded(time: datetime) -> int:
    return micros(time.astimezone(UTC))


async def _written(transaction: MongoTransaction, documents: Sequence[Document]) -> None:
    await transaction.write_each(RECORDS, "insert", documents, _sizes(documents))


async def _added(transaction: MongoTransaction, documents: Sequence[Document]) -> None:
    """Insert those that are not there."""
    updates: list[Document] = [
        {
            "q": {"_id": one["_id"]},
            "u": {"$setOnInsert": {name: value for name, value in one.items() if name != "_id"}},
            "upsert": True,
        }
        for one in documents
    ]
    await transaction.write_each(RECORDS, "update", updates, _sizes(documents))


def _sizes(documents: Sequence[Document]) -> list[int]:
    return [_LEAST_BYTES + len(one["detail"]) for one in documents]


def said(document: Document) -> bytes:
    """Return what a record says, as it is digested. Raises TypeError."""
    return orjson.dumps(_SAID(document))


def _documents(records: Sequence[AuditRecord]) -> list[Document]:
    """Return them as they are kept. Raises ValueRefusedError."""
    try:
        documents = [_document(record) for record in records]
        texts = [*map(said, documents)]
    except TypeError as error:
        raise ValueRefusedError from error
    for one, text in zip(documents, texts, strict=True):
        if _NUL in text or one["outcome"] not in _OUTCOMES:
            raise ValueRefusedError
        one["digest"] = hashlib.sha256(text).digest()
    return documents


def _document(record: AuditRecord) -> Document:
    return {
        "_id": record.id,
        "time": Int64(micros(record.time)),
        "tenant": record.tenant,
        "actor": record.actor,
        "via": record.via,
        "action": record.action,
        "target": record.target,
        "outcome": str(record.outcome),
        "reason": record.reason,
        "request_id": record.request_id,
        "detail": orjson.dumps(record.detail).decode() if record.detail else "{}",
        "block": _NO_BLOCK,
    }


def _record(row: Document) -> AuditRecord:
    return AuditRecord(
        row["action"],
        Outcome(row["outcome"]),
        row["actor"],
        row["tenant"],
        row["via"],
        row["target"],
        row["reason"],
        row["request_id"],
        orjson.loads(row["detail"]),
        row["_id"],
        from_micros(row["time"]),
    )
