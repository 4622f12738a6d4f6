"""Refresh tokens in PostgreSQL: many in one statement."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol
from uuid import UUID

from stylobate.audit import AuditRecord, AuditTrail
from stylobate.database import Connection, DatabaseManager

from stylobate_auth.refresh_token import FoundRefresh, RefreshToken, Rotation
from stylobate_auth.store.rows import account_of, session_of
from stylobate_auth.store.sessions import RefreshKey

_FIND = """
select q.number, s.*, t.hash, t.issued_at, t.expires_at as token_ends_at, clock_timestamp() - t.issued_at as since_issued,
       clock_timestamp() - t.used_at as since_used, a.email, a.display_name, a.email_verified, a.created_at, a.disabled_at,
       array(select r.role from account_role r where r.tenant = a.tenant and r.account_id = a.id order by r.role) as roles
from unnest($1::text[], $2::bytea[]) with ordinality as q (tenant, hash, number)
join refresh_token t on t.tenant = q.tenant and t.hash = q.hash
join session s on s.tenant = t.tenant and s.id = t.session_id
join account a on a.tenant = s.tenant and a.id = s.account_id
"""
# Whoever locks a session and its tokens locks the session first, and of several sessions in the order of their ids: so do those
# who remove and who end them. What was spent meanwhile is seen once the session is held.
_ROTATE = """
with asked as (
    select * from unnest(
        $1::text[], $2::uuid[], $3::bytea[], $4::bytea[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[], $8::text[],
        $9::text[], $10::bytea[], $11::timestamptz[]
    ) with ordinality as q (
        tenant, id, spent, hash, now, expires_at, token_expires_at, address, agent, secret, token_ends_at, number
    )
), held as materialized (
    select s.tenant, s.id from asked q join session s on s.tenant = q.tenant and s.id = q.id
    where s.ended_at is null and s.expires_at > q.now
    order by s.tenant, s.id for update of s
), used as (
    update refresh_token t set used_at = clock_timestamp()
    from asked q join held h on h.tenant = q.tenant and h.id = q.id
    where t.tenant = q.tenant and t.hash = q.spent and t.used_at is null
    returning q.number
), kept as (
    update session s
    set expires_at = q.expires_at, token_expires_at = q.token_expires_at, address = q.address, agent = q.agent, seen_at = q.now,
        refresh_secret = q.secret
    from asked q join used using (number)
    where s.tenant = q.tenant and s.id = q.id
), added as (
    insert into refresh_token (tenant, hash, session_id, issued_at, expires_at)
    select q.tenant, q.hash, q.id, clock_timestamp(), q.token_ends_at from asked q join used using (number)
)
select number from used
"""
PRUNE_REFRESH_TOKENS = """
delete from refresh_token where (tenant, hash) in (
    select tenant, hash from refresh_token where expires_at <= $1 order by expires_at limit $2 for update skip locked
)
"""


class PostgresRefreshTokens:
    """The port's part."""

    _database: DatabaseManager
    _audit: AuditTrail[Connection]

    def transaction(self) -> AbstractAsyncContextManager["_Changes"]:
        raise NotImplementedError

    async def refresh_tokens(self, keys: Sequence[RefreshKey]) -> list[FoundRefresh | None]:
        return await _find(self._database, keys)

    async def rotate(self, rotations: Sequence[tuple[Rotation, AuditRecord]]) -> list[bool]:
        async with self.transaction() as transaction:
            done = await transaction.rotate_refresh([rotation for rotation, _ in rotations])
            records = [record for (_, record), is_done in zip(rotations, done, strict=True) if is_done]
            if records:
                await transaction.record(*records)
        return done


class _Changes(Protocol):
    async def rotate_refresh(self, rotations: Sequence[Rotation]) -> list[bool]: ...

    async def record(self, *records: AuditRecord) -> None: ...


class PostgresRefreshChanges:
    """The transaction's part."""

    _connection: Connection

    async def refresh_tokens(self, keys: Sequence[RefreshKey]) -> list[FoundRefresh | None]:
        return await _find(self._connection, keys)

    async def rotate_refresh(self, rotations: Sequence[Rotation]) -> list[bool]:
        rows = [
            (
                one.session.tenant,
                UUID(one.session.id),
                one.spent.hash,
                one.next.hash,
                one.next.issued_at,
                one.session.expires_at,
                one.session.token_expires_at,
                one.session.address,
                one.session.agent,
                one.secret,
                one.next.expires_at,
            )
            for one in rotations
        ]
        done = {row["number"] for row in await self._connection.fetch(_ROTATE, *map(list, zip(*rows, strict=True)))}
        return [number in done for number in range(1, len(rotations) + 1)]


async def _find(connection: Connection | DatabaseManager, keys: Sequence[RefreshKey]) -> list[FoundRefresh | None]:
    found: list[FoundRefresh | None] = [None] * len(keys)
    for row in await connection.fetch(_FIND, [tenant for tenant, _ in keys], [token_hash for _, token_hash in keys]):
        found[row["number"] - 1] = _found(row)
    return found


def _found(row: Any) -> FoundRefresh:
    session = session_of(row)
    return FoundRefresh(
        RefreshToken(row["hash"], row["issued_at"], row["token_ends_at"]),
        session,
        account_of({**row, "id": session.account_id}),
        row["refresh_secret"] or b"",
        row["since_issued"],
        row["since_used"],
    )
