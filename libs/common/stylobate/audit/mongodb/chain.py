"""The chain in MongoDB. A record gets the number of its block when that is sealed, so no writer shares a counter with the others.

Whatever is written while a block is sealed has none yet and comes into a later one: nothing has to be waited for. In a block the
records stand in the order of their ids. A block is sealed over the digests that the records were written with, which go then;
it is verified over what the records say.
"""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from itertools import takewhile
from typing import Any

from bson.int64 import Int64

from stylobate.audit.chain import Block, Mark, Sealed, Stretch, block_hash
from stylobate.audit.mongodb.store import RECORDS, MongoAuditStore, said
from stylobate.audit.record import AuditRecord
from stylobate.database.mongodb import Document, MongoManager, MongoTransaction, from_micros, micros

BLOCKS = "audit_block"
_UNSEALED = {"block": 0}
_NEXT = [("block", 1), ("_id", 1)]
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
        return await self._database.transact(lambda transaction: self._seal(transaction, most))

    async def _seal(self, transaction: MongoTransaction, most: int) -> Block | None:
        head = await _head(transaction)
        rows = await transaction.find(RECORDS, _UNSEALED, {"time": 1, "digest": 1}, sort=_NEXT, limit=most)
        if not all("digest" in row for row in rows):  # written by nobody that this release knows
            rows = await transaction.find(RECORDS, _UNSEALED, sort=_NEXT, limit=most)
        if not rows:
            return None
        number = head.number + 1 if head else 1
        found = _sealed(rows, number, [row.get("digest") or _digest(row) for row in rows])
        made = block_hash(self._service, number, head.hash if head else b"", found)
        # the same ones, for it is the same moment
        numbered = {"$set": {"block": Int64(number)}, "$unset": {"digest": ""}}
        await transaction.update_many(RECORDS, {**_UNSEALED, "_id": {"$lte": found.last_id}}, numbered)
        block: Document = {
            "_id": Int64(number),
            "last_id": found.last_id,
            "count": Int64(found.count),
            "first_time": Int64(micros(found.first_time)),
            "last_time": Int64(micros(found.last_time)),
            "hash": made,
            "is_deleted": False,
        }
        await transaction.insert(BLOCKS, [block])
        return _block(block)

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
            count = await transaction.delete(RECORDS, {"block": {"$gt": 0, "$lte": last.number}})
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
        stray = await transaction.count(RECORDS, gone, limit=_MOST_COUNTED)
    del kept[blocks:]
    found: list[Sealed | None] = []
    for block in kept:
        theirs = {"block": {"$gt": block.number - 1, "$lte": block.number}}
        rows = await transaction.find(RECORDS, theirs, sort=[("_id", 1)])
        found.append(_sealed(rows, block.number, [*map(_digest, rows)]) if rows else None)
    behind = {"$or": [_UNSEALED, {"block": {"$gt": head.number if head else 0}}]}
    return Stretch(before, kept, found, stray, head, await transaction.count(RECORDS, behind, limit=_MOST_COUNTED))


def _digest(row: Document) -> bytes:
    return hashlib.sha256(said(row)).digest()


def _sealed(rows: Sequence[Document], number: int, digests: Sequence[bytes]) -> Sealed:
    times = [row["time"] for row in rows]
    return Sealed(number, rows[-1]["_id"], len(rows), from_micros(min(times)), from_micros(max(times)), b"".join(digests))


def _block(row: Any) -> Block:
    return Block(
        int(row["_id"]),
        int(row["_id"]),
        row["last_id"],
        int(row["count"]),
        from_micros(row["first_time"]),
        from_micros(row["last_time"]),
        bytes(row["hash"]),
        row["is_deleted"],
    )
