"""The chain in MongoDB. A record gets the number of its block when that is sealed, so no writer shares a counter with the others.

Whatever is written while a block is sealed has none yet and comes into a later one: nothing has to be waited for. In a block
packs stand before other records, and each in the order of their ids. A block is sealed over the digests that they were written
with, which go then; it is verified over what they say.
"""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import takewhile
from typing import Any

from bson.int64 import Int64

from stylobate.audit.chain import Block, Mark, Sealed, Stretch, block_hash
from stylobate.audit.mongodb.packs import PACKS, pack_digest, time_of
from stylobate.audit.mongodb.store import RECORDS, MongoAuditStore, said
from stylobate.audit.record import AuditRecord
from stylobate.database.mongodb import Document, MongoManager, MongoTransaction, micros

BLOCKS = "audit_block"
_UNSEALED = {"block": 0}
_NEXT = [("block", 1), ("_id", 1)]
_OF_PACK = {"first": 1, "last": 1, "count": 1, "digest": 1}
_OF_RECORD = {"time": 1, "digest": 1}
_ANY: list[dict[str, Any]] = [{"$match": _UNSEALED}, {"$limit": 1}, {"$project": {"_id": 1}}]
_PACKS_AT_ONCE = 16
_UPDATE_BYTES = 200
_MOST_COUNTED = 100_000


class MongoAuditChain:
    """The port on the migrations of ``stylobate.audit``."""

    def __init__(self, database: MongoManager, service: str) -> None:
        self._database = database
        self._service = service
        self._store = MongoAuditStore(database)

    async def mark(self) -> Mark:
        return Mark(0, 0)

    async def is_past(self, mark: Mark) -> bool:  # noqa: ARG002  every moment is: see above
        return True

    async def seal(self, mark: Mark, most: int) -> Block | None:
        del mark
        if not await self._database.aggregate(PACKS, [*_ANY, {"$unionWith": {"coll": RECORDS, "pipeline": _ANY}}]):
            return None
        return await self._database.transact(lambda transaction: self._seal(transaction, most))

    async def _seal(self, transaction: MongoTransaction, most: int) -> Block | None:
        packs = await _unsealed(transaction, PACKS, _OF_PACK, _PACKS_AT_ONCE)
        records = await _unsealed(transaction, RECORDS, _OF_RECORD, most)
        head = await _head(transaction)
        sealed: list[Document] = []
        numbered: dict[str, list[Document]] = {PACKS: [], RECORDS: []}
        for some in _blocks([*packs, *records], most):
            number = head.number + 1 if head else 1
            found = _sealed(some, number, [row.get("digest") or _digest(row) for row in some])
            sealed.append(_document(found, block_hash(self._service, number, head.hash if head else b"", found)))
            head = _block(sealed[-1])
            for row in {"count" in row: row for row in some}.values():  # the last one of each kind
                numbered[PACKS if "count" in row else RECORDS].append(_numbering(number, row["_id"]))
        for name, updates in numbered.items():
            await transaction.write_each(name, "update", updates, [_UPDATE_BYTES] * len(updates))
        await transaction.insert(BLOCKS, sealed)
        return head if sealed else None

    async def head(self) -> Block | None:
        return await _head(self._database)

    async def block(self, number: int) -> Block | None:
        row = await self._database.find_one(BLOCKS, {"_id": number})
        return None if row is None else _block(row)

    async def stretch(self, after: int, blocks: int) -> Stretch:
        return await self._database.transact(lambda transaction: _stretch(transaction, after, blocks))

    async def delete(self, older_than: timedelta, blocks: int) -> int:
        edge = micros(await self._database.now() - older_than)

        async def work(transaction: MongoTransaction) -> int:
            oldest = await transaction.find(BLOCKS, {"is_deleted": False}, sort=[("_id", 1)], limit=blocks)
            old = list(takewhile(lambda row: row["last_time"] < edge, oldest))
            if not old:
                return 0
            last = _block(old[-1])
            gone = {"block": {"$gt": 0, "$lte": last.number}}
            count = await _in_packs(transaction, gone) + await transaction.delete(RECORDS, gone)
            await transaction.delete(PACKS, gone)
            await transaction.delete(BLOCKS, {"_id": {"$lt": last.number}})
            await transaction.update_one(BLOCKS, {"_id": last.number}, {"$set": {"is_deleted": True}})
            detail = {"block": last.number, "hash": last.hash.hex(), "until": last.last_time.isoformat(), "records": count}
            await self._store.insert([AuditRecord("audit.retention", via=self._service, detail=detail)], transaction)
            return count

        return await self._database.transact(work)


async def _head(on: "MongoManager | MongoTransaction") -> Block | None:
    row = await on.find_one(BLOCKS, {}, sort=[("_id", -1)])
    return None if row is None else _block(row)


async def _stretch(transaction: MongoTransaction, after: int, blocks: int) -> Stretch:
    """Return blocks and what stands between their ends, all of the transaction's moment."""
    kept = [_block(row) for row in await transaction.find(BLOCKS, {"_id": {"$gte": after}}, sort=[("_id", 1)], limit=blocks + 1)]
    head = await _head(transaction)
    before = kept.pop(0) if kept and (kept[0].number == after or kept[0].is_deleted) else None
    stray = 0
    if before is not None and before.is_deleted:
        gone = {"block": {"$gt": 0, "$lte": before.number}}
        stray = await _count(transaction, gone)
    del kept[blocks:]
    found: list[Sealed | None] = []
    for block in kept:
        theirs = {"block": {"$gt": block.number - 1, "$lte": block.number}}
        rows = [row for name in (PACKS, RECORDS) for row in await transaction.find(name, theirs, sort=[("_id", 1)])]
        found.append(_sealed(rows, block.number, [*map(_digest, rows)]) if rows else None)
    behind = {"$or": [_UNSEALED, {"block": {"$gt": head.number if head else 0}}]}
    return Stretch(before, kept, found, stray, head, await _count(transaction, behind))


async def _unsealed(transaction: MongoTransaction, name: str, fields: dict[str, Any], most: int) -> list[Document]:
    rows = await transaction.find(name, _UNSEALED, fields, sort=_NEXT, limit=most)
    if all("digest" in row for row in rows):
        return rows
    return await transaction.find(name, _UNSEALED, sort=_NEXT, limit=most)  # written by nobody that this release knows


def _blocks(rows: Sequence[Document], most: int) -> Iterator[list[Document]]:
    """Yield stretches of at most that many records; a larger pack is one by itself."""
    some: list[Document] = []
    count = 0
    for row in rows:
        if some and count + _size(row) > most:
            yield some
            some, count = [], 0
        some.append(row)
        count += _size(row)
    if some:
        yield some


def _numbering(number: int, last_id: str) -> Document:
    """Return what gives all that is in a block its number: those up to the last without one, for it is the same moment."""
    change = {"$set": {"block": Int64(number)}, "$unset": {"digest": ""}}
    return {"q": {**_UNSEALED, "_id": {"$lte": last_id}}, "u": change, "multi": True}


async def _count(transaction: MongoTransaction, where: dict[str, Any]) -> int:
    return await _in_packs(transaction, where) + await transaction.count(RECORDS, where, limit=_MOST_COUNTED)


async def _in_packs(transaction: MongoTransaction, where: dict[str, Any]) -> int:
    found = await transaction.aggregate(PACKS, [{"$match": where}, {"$group": {"_id": None, "count": {"$sum": "$count"}}}])
    return int(found[0]["count"]) if found else 0


def _size(row: Document) -> int:
    return int(row.get("count", 1))


def _digest(row: Document) -> bytes:
    return pack_digest(row) if "count" in row else hashlib.sha256(said(row)).digest()


def _sealed(rows: Sequence[Document], number: int, digests: Sequence[bytes]) -> Sealed:
    times = [row[name] for row in rows for name in (("first", "last") if "count" in row else ("time",))]
    count = sum(map(_size, rows))
    return Sealed(number, rows[-1]["_id"], count, time_of(min(times)), time_of(max(times)), b"".join(digests))


def _document(found: Sealed, made: bytes) -> Document:
    return {
        "_id": Int64(found.last_seq),
        "last_id": found.last_id,
        "count": Int64(found.count),
        "first_time": Int64(micros(found.first_time)),
        "last_time": Int64(micros(found.last_time)),
        "hash": made,
        "is_deleted": False,
    }


def _block(row: Any) -> Block:
    return Block(
        int(row["_id"]),
        int(row["_id"]),
        row["last_id"],
        int(row["count"]),
        time_of(row["first_time"]),
        time_of(row["last_time"]),
        bytes(row["hash"]),
        row["is_deleted"],
    )
