"""The ledger in PostgreSQL. A key is held by an advisory lock of the transaction, so that nobody waits for it."""

from collections.abc import Sequence
from datetime import datetime

from stylobate.database import Connection, DatabaseManager
from stylobate.database.batches import columns, lock_key
from stylobate.idempotency.errors import KeyTakenError
from stylobate.idempotency.port import Answer, Claim

_FIND = """
select request, answer from idempotency where tenant = $1 and caller = $2 and method = $3 and key = $4 and expires_at > $5
"""
# A key whose holder commits between our snapshot and our lock is found out by _ANSWER. One array is selected, so that the planner
# does not see how many there are and plans once (ADR 0213).
_CLAIM = """
with asked as materialized (
    select * from unnest((select $1::text[]), $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[])
        with ordinality as a (tenant, caller, method, key, at, lock, n)
), held as materialized (
    select n, pg_try_advisory_xact_lock(lock) as is_free from asked
)
select held.is_free and not exists (
    select from idempotency i
    where i.tenant = a.tenant and i.caller = a.caller and i.method = a.method and i.key = a.key and i.expires_at > a.at
) as is_ours
from asked a join held using (n) order by n
"""
_ANSWER = """
insert into idempotency as known (tenant, caller, method, key, request, answer, expires_at)
select tenant, caller, method, key, request, answer, expires_at
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bytea[], $7::timestamptz[])
    as a (tenant, caller, method, key, request, answer, expires_at)
on conflict (tenant, caller, method, key) do update
set request = excluded.request, answer = excluded.answer, expires_at = excluded.expires_at
where known.expires_at <= $8
returning true
"""
_PRUNE = """
delete from idempotency where (tenant, caller, method, key) in (
    select tenant, caller, method, key from idempotency where expires_at <= $1 order by expires_at limit 1000
    for update skip locked
)
"""


class PostgresIdempotencyLedger:
    """The port on the migrations of ``stylobate.idempotency``."""

    def __init__(self, database: DatabaseManager) -> None:
        self._database = database

    async def find(self, claim: Claim) -> Answer | None:
        row = await self._database.fetchrow(_FIND, *_key(claim), claim.at)
        return None if row is None else Answer(row["request"], row["answer"])

    async def claim(self, transaction: Connection, claims: Sequence[Claim]) -> list[bool]:
        asked = columns((*_key(claim), claim.at, lock_key(b"idempotency", *_key(claim))) for claim in claims)
        rows = await transaction.fetch(_CLAIM, *asked)
        seen = set[tuple[str, ...]]()
        ours = []
        for claim, row in zip(claims, rows, strict=True):
            ours.append(row["is_ours"] and _key(claim) not in seen)
            seen.add(_key(claim))
        return ours

    async def answer(self, transaction: Connection, results: Sequence[tuple[Claim, object]]) -> None:
        if not results:
            return
        rows = [(*_key(claim), claim.request, claim.encode(result), claim.expires_at) for claim, result in results]
        now = min(claim.at for claim, _ in results)
        if len(await transaction.fetch(_ANSWER, *columns(rows), now)) < len(results):
            raise KeyTakenError

    async def prune(self, now: datetime) -> int:
        return int((await self._database.execute(_PRUNE, now)).rpartition(" ")[2])


def _key(claim: Claim) -> tuple[str, str, str, str]:
    return claim.tenant, claim.caller, claim.method, claim.key
