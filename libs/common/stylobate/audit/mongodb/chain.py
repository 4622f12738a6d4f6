"""The chain in MongoDB. A record gets its number when it is sealed, so that no writer shares a counter with the others.

Whatever is written while a block is sealed has no number yet and comes into a later one: nothing has to be waited for.
"""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from itertools import takewhile
from operator import itemgetter
from typing import Any

import orjson
from bson.int64 import Int64

from stylobate.audit.chain import Block, Mark, Sealed, Stretch, block_hash
from stylobate.audit.mongodb.store import RECORDS, MongoAuditStore
from stylobate.audit.record import AuditRecord
from stylobate.database.mongodb import Document, MongoManager, MongoTransaction, from_micros, micros

BLOCKS = "audit_block"
_UNSEALED = {"seq": 0}
_MOST_COUNTED = 100_000
_HASHED = itemgetter(
    "seq", "_id", "time", "tenant", "actor", "via", "action", "target", "outcome", "reason", "request_id", "detail"
)
"""What a record's hash is made of, in this order."""


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
        rows = await transaction.find(RECORDS, _UNSEALED, sort=[("seq", 1), ("_id", 1)], limit=most)
        if not rows:
            return None
        number, seq = (head.number + 1, head.last_seq) if head else (1, 0)
        for at, row in enumerate(rows, seq + 1):
            row["seq"] = Int64(at)
        found = _sealed(rows, rows[-1]["seq"], rows[-1]["_id"])
        made = block_hash(self._service, number, head.hash if head else b"", found)
        # the same ones, for it is the same moment; one statement, since a thousand would cost more than all else here
        place = {"$indexOfArray": [[row["_id"] for row in rows], "$_id"]}
        numbering = [{"$set": {"seq": {"$add": [rows[0]["seq"], place]}}}]
        await transaction.update_many(RECORDS, {**_UNSEALED, "_id": {"$lte": rows[-1]["_id"]}}, numbering)
        block: Document = {
            "_id": Int64(number),
            "last_seq": Int64(found.last_seq),
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
            count = await transaction.delete(RECORDS, {"seq": {"$gt": 0, "$lte": last.last_seq}})
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
        gone = {"seq": {"$gt": 0, "$lte": before.last_seq}}
        stray = await transaction.count(RECORDS, gone, limit=_MOST_COUNTED)
    del kept[blocks:]
    found: list[Sealed | None] = []
    start = before
    for block in kept:
        first, last = _end(start), _end(block)
        place = {"seq": {"$gte": max(1, first[0]), "$lte": last[0]}}
        rows = await transaction.find(RECORDS, place, sort=[("seq", 1), ("_id", 1)])
        rows = [row for row in rows if first < (row["seq"], row["_id"]) <= last]
        found.append(_sealed(rows, block.last_seq, block.last_id) if rows else None)
        start = block
    behind = {"$or": [_UNSEALED, {"seq": {"$gt": _end(head)[0]}}]}
    return Stretch(before, kept, found, stray, head, await transaction.count(RECORDS, behind, limit=_MOST_COUNTED))


def _end(block: Block | None) -> tuple[int, str]:
    """Return the place of a block's last record; None: that before all records."""
    return (block.last_seq, block.last_id) if block else (0, "")


def _sealed(rows: Sequence[Document], last_seq: int, last_id: str) -> Sealed:
    times = [row["time"] for row in rows]
    digests = b"".join(hashlib.sha256(orjson.dumps(_HASHED(row))).digest() for row in rows)
    return Sealed(int(last_seq), last_id, len(rows), from_micros(min(times)), from_micros(max(times)), digests)


def _block(row: Any) -> Block:
    return Block(
        int(row["_id"]),
        int(row["last_seq"]),
        row["last_id"],
        int(row["count"]),
        from_micros(row["first_time"]),
        from_micros(row["last_time"]),
        bytes(row["hash"]),
        row["is_deleted"],
    )
