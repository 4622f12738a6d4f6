"""The audit trail in MongoDB: what comes in numbers in packs, all else a document each, with the digest that it is sealed by."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import orjson
from bson.int64 import Int64

from stylobate.audit.mongodb.packs import (
    END_US,
    FIRST_US,
    NO_BLOCK,
    OUTCOMES,
    PACKS,
    SCANNED,
    check_text,
    ids,
    packed,
    read_packs,
)
from stylobate.audit.query import AuditPage, AuditQuery, Place, joined
from stylobate.audit.record import AuditRecord, Outcome
from stylobate.database.mongodb import Document, DuplicateError, MongoManager, MongoTransaction, from_micros, micros
from stylobate.errors import ValueRefusedError
from stylobate.logs import get_logger

RECORDS = "audit_record"
_LATEST_FIRST = {"time": -1, "_id": -1}
_SAID = itemgetter("_id", "time", "tenant", "actor", "via", "action", "target", "outcome", "reason", "request_id", "detail")
"""What a record's digest is made of, in this order."""
_FOUND_BY = ("_id", "tenant", "time")
"""The id, and what a cluster is sharded by: an upsert has to name that."""
_LEAST_BYTES = 2000
_log = get_logger("audit")


class MongoAuditStore:
    """The port on the migrations of ``stylobate.audit``."""

    def __init__(self, database: MongoManager) -> None:
        self._database = database

    async def insert(self, records: Sequence[AuditRecord], transaction: MongoTransaction | None = None) -> None:
        if transaction is not None:
            await _added(transaction, _documents(records))
            return
        packs, documents = _split(records)
        try:
            if len(packs) + len(documents) > 1:
                await self._database.transact(lambda own: _written(own, packs, documents))
            else:
                await self._database.insert(PACKS if packs else RECORDS, packs or documents)
        except DuplicateError:  # some are there already, which is rare: nothing of these was written
            await self._database.transact(lambda own: _completed(own, packs, records))

    async def read(self, query: AuditQuery, limit: int) -> AuditPage:
        page = await self._read_documents(query, limit)
        return page if query.target else joined([page, await read_packs(self._database, query, limit)], limit)

    async def _read_documents(self, query: AuditQuery, limit: int) -> AuditPage:
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
    since = FIRST_US if query.since is None else _bounded(query.since)
    until = END_US if query.until is None else _bounded(query.until)
    where: dict[str, Any] = {"tenant": query.tenant, "time": {"$gte": since, "$lt": until}}
    if query.target:
        where["target"] = query.target
    elif query.actor:
        where["actor"] = query.actor
    if query.before is not None:
        at = micros(query.before.time)
        where["$or"] = [{"time": {"$lt": at}}, {"time": at, "_id": {"$lt": query.before.id}}]
    return where


def _bounded(time: datetime) -> int:
    return min(max(micros(time.astimezone(UTC)), FIRST_US), END_US)


async def _written(transaction: MongoTransaction, packs: Sequence[Document], documents: Sequence[Document]) -> None:
    await transaction.write_each(PACKS, "insert", packs, [_LEAST_BYTES + 2 * len(pack["records"]) for pack in packs])
    await transaction.write_each(RECORDS, "insert", documents, _sizes(documents))


async def _completed(transaction: MongoTransaction, packs: Sequence[Document], records: Sequence[AuditRecord]) -> None:
    """Insert those that are neither in the packs, should these be there, nor there by themselves."""
    known = ids(await transaction.find(PACKS, {"_id": {"$in": [pack["_id"] for pack in packs]}}))
    await _added(transaction, _documents([record for record in records if record.id not in known]))


async def _added(transaction: MongoTransaction, documents: Sequence[Document]) -> None:
    """Insert those that are not there."""
    updates: list[Document] = [
        {
            "q": {name: one[name] for name in _FOUND_BY},
            "u": {"$setOnInsert": {name: value for name, value in one.items() if name not in _FOUND_BY}},
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


def _split(records: Sequence[AuditRecord]) -> tuple[list[Document], list[Document]]:
    """Return packs and documents as they are kept. Raises ValueRefusedError."""
    try:
        packs, alone = packed(records)
    except TypeError as error:
        raise ValueRefusedError from error
    return packs, _documents(alone)


def _documents(records: Sequence[AuditRecord]) -> list[Document]:
    """Return them as they are kept. Raises ValueRefusedError."""
    try:
        documents = [_document(record) for record in records]
        texts = [*map(said, documents)]
    except TypeError as error:
        raise ValueRefusedError from error
    for one, text in zip(documents, texts, strict=True):
        if one["outcome"] not in OUTCOMES:
            raise ValueRefusedError
        check_text(text)
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
        "block": NO_BLOCK,
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
        _detail(row),
        row["_id"],
        from_micros(row["time"]),
    )


def _detail(row: Document) -> dict[str, Any]:
    """Return a record's detail; nothing where one who changed it left what is none."""
    try:
        detail = orjson.loads(row["detail"])
    except ValueError:
        detail = None
    if isinstance(detail, dict):
        return detail
    _log.error("audit_records_unreadable", id=row["_id"], block=row["block"], error="its detail is not an object")
    return {}
