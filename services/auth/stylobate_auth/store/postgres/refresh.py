"""Refresh tokens in PostgreSQL: many in one statement."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

from stylobate.audit import AuditRecord
from stylobate.audit.postgres import recorded, recording
from stylobate.audit.record import made_storable
from stylobate.database import Connection, DatabaseManager

from stylobate_auth.account_sealing import AccountSealing
from stylobate_auth.refresh_token import FoundRefresh, RefreshToken, Rotation
from stylobate_auth.store.postgres.rows import account_as_far, session_of
from stylobate_auth.store.sessions import RefreshKey

# Each look-up by itself: a join would be planned for small tables, and read all of them once they have grown.
# The arrays are selected, so that the planner does not see how long they are: few keys look cheaper than those that it plans for
# without seeing them, and each batch would be planned anew, which costs more than to find them.
_FIND = """
select q.number, s.*, t.hash, t.issued_at, t.expires_at as token_ends_at, clock_timestamp() - t.issued_at as since_issued,
       clock_timestamp() - t.used_at as since_used, a.email, a.display_name, a.email_verified, a.created_at, a.disabled_at,
       array(select r.role from account_role r where r.tenant = a.tenant and r.account_id = a.id order by r.role) as roles
from unnest((select $1::text[]), (select $2::bytea[])) with ordinality as q (tenant, hash, number)
cross join lateral (select * from refresh_token r where r.tenant = q.tenant and r.hash = q.hash limit 1) t
cross join lateral (select * from session r where r.tenant = t.tenant and r.id = t.session_id limit 1) s
cross join lateral (select * from account r where r.tenant = s.tenant and r.id = s.account_id limit 1) a
"""
# Whoever locks a session and its tokens locks the session first, and of several sessions in the order of their ids: so do those
# who remove and who end them. What was spent meanwhile is seen once the session is held.
_ROTATE = """
with held as materialized (
    select true from session where tenant = $1 and id = $2 and ended_at is null and expires_at > $5 for update
), used as (
    update refresh_token set used_at = clock_timestamp()
    where tenant = $1 and hash = $3 and used_at is null and exists (select from held)
    returning true
), kept as (
    update session
    set expires_at = $6, token_expires_at = $7, address = $8, agent = $9, seen_at = $5, refresh_secret = $10
    where tenant = $1 and id = $2 and exists (select from used)
), added as (
    insert into refresh_token (tenant, hash, session_id, issued_at, expires_at)
    select $1, $4::bytea, $2, clock_timestamp(), $11::timestamptz from used
)
select exists (select from used)
"""
# The same with its audit record, for who has nothing else to do in a transaction: it is one by itself.
_ROTATE_RECORDED = _ROTATE.replace(
    "\nselect exists", f", recorded as ({recording('$12', 'exists (select from used)')})\nselect exists"
)
PRUNE_REFRESH_TOKENS = """
delete from refresh_token where (tenant, hash) in (
    select tenant, hash from refresh_token where expires_at <= $1 order by expires_at limit $2 for update skip locked
)
"""


class PostgresRefreshTokens:
    """The port's part."""

    _database: DatabaseManager
    sealing: AccountSealing

    async def refresh_tokens(self, keys: Sequence[RefreshKey]) -> list[FoundRefresh | None]:
        return await _find(self._database, keys, self.sealing)

    async def rotate(self, rotations: Sequence[tuple[Rotation, AuditRecord]]) -> list[bool]:
        rows = [(*_row(rotation), recorded(made_storable(record))) for rotation, record in rotations]
        return await _in_order(rows, lambda ordered: self._database.fetchmany(_ROTATE_RECORDED, ordered))


class PostgresRefreshChanges:
    """The transaction's part."""

    _connection: Connection
    sealing: AccountSealing

    async def refresh_tokens(self, keys: Sequence[RefreshKey]) -> list[FoundRefresh | None]:
        return await _find(self._connection, keys, self.sealing)

    async def rotate_refresh(self, rotations: Sequence[Rotation]) -> list[bool]:
        return await _in_order([*map(_row, rotations)], lambda ordered: self._connection.fetchmany(_ROTATE, ordered))


_Row = tuple[Any, ...]


def _row(one: Rotation) -> _Row:
    return (
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


async def _in_order(rows: list[_Row], rotate: Callable[[list[_Row]], Awaitable[list[Any]]]) -> list[bool]:
    """Rotate in the order of sessions; return of each row whether it was done."""
    order = sorted(range(len(rows)), key=lambda number: rows[number][:2])
    answers = await rotate([rows[number] for number in order])
    done = {number for number, answer in zip(order, answers, strict=True) if answer[0]}
    return [number in done for number in range(len(rows))]


async def _find(
    connection: Connection | DatabaseManager, keys: Sequence[RefreshKey], sealing: AccountSealing
) -> list[FoundRefresh | None]:
    found: list[FoundRefresh | None] = [None] * len(keys)
    for row in await connection.fetch(_FIND, [tenant for tenant, _ in keys], [token_hash for _, token_hash in keys]):
        found[row["number"] - 1] = await _found(row, sealing)
    return found


async def _found(row: Any, sealing: AccountSealing) -> FoundRefresh:
    session = session_of(row)
    return FoundRefresh(
        RefreshToken(row["hash"], row["issued_at"], row["token_ends_at"]),
        session,
        await account_as_far({**row, "id": session.account_id}, sealing),
        row["refresh_secret"] or b"",
        row["since_issued"],
        row["since_used"],
    )
