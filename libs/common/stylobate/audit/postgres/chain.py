"""The chain in PostgreSQL. The server makes the hashes of records, so that none of them is read for it."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import takewhile
from typing import Any

from stylobate.audit.chain import Block, Mark, Sealed, Stretch, block_hash
from stylobate.audit.postgres.store import PostgresAuditStore
from stylobate.audit.record import AuditRecord
from stylobate.database import DatabaseManager

_FIRST_SEQ, _FIRST_ID = -(1 << 63), "00000000-0000-0000-0000-000000000000"
_MOST_COUNTED = 100_000

_DIGESTS = """string_agg(sha256(convert_to(json_build_array(
    r.seq, r.id, (extract(epoch from r.time) * 1000000)::bigint, r.tenant, r.actor, r.via, r.action, r.target, r.outcome,
    r.reason, r.request_id, r.detail::text
)::text, 'UTF8')), ''::bytea order by r.seq, r.id) as digests"""
_NEXT = """
with r as materialized (
    select * from audit_record where (seq, id) > ($1, $2) and seq <= $3 order by seq, id limit $4
), final as (
    select seq, id from r order by seq desc, id desc limit 1
)
select count(*), min(r.time) as first_time, max(r.time) as last_time, final.seq as last_seq, final.id as last_id, {digests}
from r, final group by final.seq, final.id
""".replace("{digests}", _DIGESTS)
_APPEND = """
insert into audit_block (number, last_seq, last_id, count, first_time, last_time, hash) values ($1, $2, $3, $4, $5, $6, $7)
on conflict (number) do nothing
"""
_HEAD = "select * from audit_block order by number desc limit 1"
_BLOCK = "select * from audit_block where number = $1"
_BLOCKS = "select * from audit_block where number >= $1 order by number limit $2"
_FOUND = """
select b.at, count(*), min(r.time) as first_time, max(r.time) as last_time, {digests}
from unnest($1::bigint[], $2::uuid[], $3::bigint[], $4::uuid[]) with ordinality as b (from_seq, from_id, last_seq, last_id, at)
join audit_record r on (r.seq, r.id) > (b.from_seq, b.from_id) and (r.seq, r.id) <= (b.last_seq, b.last_id)
group by b.at
""".replace("{digests}", _DIGESTS)
_ONE_MOMENT = "set transaction isolation level repeatable read, read only"
_COUNT_BEHIND = "select count(*) from (select from audit_record where (seq, id) > ($1, $2) limit $3) r"
_COUNT_UP_TO = "select count(*) from (select from audit_record where (seq, id) <= ($1, $2) limit $3) r"
_OLD = """
select *, last_time < now() - $2::interval as is_old from audit_block
where deleted_at is null order by number limit $1 for update
"""


class PostgresAuditChain:
    """The port on the migrations of ``stylobate.audit``."""

    def __init__(self, database: DatabaseManager, service: str) -> None:
        self._database = database
        self._service = service
        self._store = PostgresAuditStore(database)

    async def mark(self) -> Mark:
        # two statements: a number that was drawn before the first belongs to a transaction that the second knows of
        seq = await self._database.fetchval("select case when is_called then last_value else 0 end from audit_record_seq")
        return Mark(seq, await self._database.fetchval("select pg_snapshot_xmax(pg_current_snapshot())::text::bigint"))

    async def is_past(self, mark: Mark) -> bool:
        oldest = await self._database.fetchval("select pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        return bool(oldest >= mark.xid)

    async def seal(self, mark: Mark, most: int) -> Block | None:
        head = await self.head()
        row = await self._database.fetchrow(_NEXT, *_end(head), mark.seq, most)
        if row is None:
            return None
        found, number = _sealed(row, row["last_seq"], str(row["last_id"])), head.number + 1 if head else 1
        made = block_hash(self._service, number, head.hash if head else b"", found)
        await self._database.execute(
            _APPEND, number, found.last_seq, found.last_id, found.count, found.first_time, found.last_time, made
        )
        return await self.block(number)

    async def head(self) -> Block | None:
        return _block_of(await self._database.fetchrow(_HEAD))

    async def block(self, number: int) -> Block | None:
        return _block_of(await self._database.fetchrow(_BLOCK, number))

    async def stretch(self, after: int, blocks: int) -> Stretch:
        async with self._database.transaction() as connection:
            await connection.execute(_ONE_MOMENT)
            kept = [_block(row) for row in await connection.fetch(_BLOCKS, after, blocks + 1)]
            head = _block_of(await connection.fetchrow(_HEAD))
            before = kept.pop(0) if kept and (kept[0].number == after or kept[0].is_deleted) else None
            stray = await connection.fetchval(_COUNT_UP_TO, *_end(before), _MOST_COUNTED) if before and before.is_deleted else 0
            del kept[blocks:]
            starts = [_end(one) for one in (before, *kept)][:-1]
            ends = [_end(one) for one in kept]
            rows = await connection.fetch(_FOUND, *_columns(starts), *_columns(ends))
            by_place = {row["at"]: row for row in rows}
            found = [
                _sealed(by_place[at], block.last_seq, block.last_id) if at in by_place else None
                for at, block in enumerate(kept, 1)
            ]
            unsealed = await connection.fetchval(_COUNT_BEHIND, *_end(head), _MOST_COUNTED)
        return Stretch(before, kept, found, stray, head, unsealed)

    async def delete(self, older_than: timedelta, blocks: int) -> int:
        async with self._database.transaction() as connection:
            oldest = await connection.fetch(_OLD, blocks, older_than)
            old = list(takewhile(lambda row: row["is_old"], oldest))
            if not old:
                return 0
            last = _block(old[-1])
            deleted = await connection.execute("delete from audit_record where (seq, id) <= ($1, $2)", *_end(last))
            await connection.execute("delete from audit_block where number < $1", last.number)
            await connection.execute("update audit_block set deleted_at = now() where number = $1", last.number)
            count = int(deleted.rpartition(" ")[2])
            detail = {"block": last.number, "hash": last.hash.hex(), "until": last.last_time.isoformat(), "records": count}
            await self._store.insert([AuditRecord("audit.retention", via=self._service, detail=detail)], connection)
        return count


def _end(block: Block | None) -> tuple[int, str]:
    """Return the place of a block's last record; None: that before all records."""
    return (block.last_seq, block.last_id) if block else (_FIRST_SEQ, _FIRST_ID)


def _columns(ends: Sequence[tuple[int, str]]) -> tuple[list[int], list[str]]:
    return [seq for seq, _ in ends], [id for _, id in ends]  # noqa: A001


def _sealed(row: Any, last_seq: int, last_id: str) -> Sealed:
    return Sealed(last_seq, last_id, row["count"], row["first_time"], row["last_time"], row["digests"])


def _block_of(row: Any) -> Block | None:
    return None if row is None else _block(row)


def _block(row: Any) -> Block:
    return Block(
        row["number"],
        row["last_seq"],
        str(row["last_id"]),
        row["count"],
        row["first_time"],
        row["last_time"],
        row["hash"],
        row["deleted_at"] is not None,
    )
