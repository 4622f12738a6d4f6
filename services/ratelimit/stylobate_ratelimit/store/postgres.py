"""Bans in PostgreSQL, together with their events and audit records."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from stylobate.audit import AuditRecord, AuditTrail
from stylobate.database import Connection, DatabaseManager
from stylobate.idempotency import Claim, Idempotency, IdempotencyLedger, KeyTakenError
from stylobate.outbox import Event, Outbox

from stylobate_ratelimit.ban import AutomaticBan, Ban, BanPage, BanSubject, OperatorBan

_CHANGES = "ratelimit_bans"
"""Notified with every commit that changes a ban."""
_STREAM = "ban"
_LATE_COMMITS = timedelta(seconds=30)
"""A transaction that began before a look may commit after it, with the time of its beginning in its rows."""
_PRUNE_BATCH = 1000

# A row whose ban is over is kept for an hour at least: whoever follows must hear that it was lifted.
_PUT = """
insert into ban as b (tenant, level, subject, reason, actor, rule, strikes, started_at, until, forget_at)
values ($1, $2, $3, $4, $5, '', 0, now(), now() + $6::interval, now() + $6::interval + interval '1 hour')
on conflict (tenant, level, subject) do update
set reason = excluded.reason, actor = excluded.actor, rule = '', strikes = 0, started_at = excluded.started_at,
    until = excluded.until, forget_at = excluded.forget_at, lifted_at = null, changed_at = now()
returning *
"""
# The row is locked by the conflict: of two that come at the same moment the second finds the ban of the first.
_BEGIN = """
insert into ban as b (tenant, level, subject, reason, actor, rule, strikes, started_at, until, forget_at)
values ($1, $2, $3, '', '', $4, 1, now(), now() + $5::interval,
        now() + $5::interval + greatest($6::interval, interval '1 hour'))
on conflict (tenant, level, subject) do update
set (reason, actor, rule, started_at, lifted_at, changed_at) = ('', '', excluded.rule, now(), null, now()),
    (strikes, until, forget_at) = (
        select n, now() + lasts, now() + lasts + greatest($6::interval, interval '1 hour')
        from (select case when b.lifted_at is null and b.until > now() - $6::interval then b.strikes + 1 else 1 end as n) as s,
        lateral (select least($6::interval, $5::interval * power(2, least(n - 1, 30))) as lasts) as l
    )
where b.lifted_at is not null or b.until <= now()
returning *
"""
_LIFT = """
update ban set strikes = 0, lifted_at = now(), changed_at = now(), forget_at = now() + interval '1 hour'
where tenant = $1 and level = $2 and subject = $3 and lifted_at is null and (until is null or until > now())
returning *
"""
_ONE = """
select * from ban
where tenant = $1 and level = $2 and subject = $3 and lifted_at is null and (until is null or until > now())
"""
_LIST = """
select * from ban
where tenant = $1 and ($2 = '' or level = $2) and (level, subject) > ($3, $4)
    and lifted_at is null and (until is null or until > now())
order by level, subject limit $5
"""
# One snapshot: the time and the bans fit together.
_LOOK = """
select t.as_of, b.* from (select now() as as_of) as t
left join ban b on case
    when $1::timestamptz is null then b.lifted_at is null and (b.until is null or b.until > now())
    else b.changed_at >= $1 end
"""
# What others hold is left for the next turn: two processes that remove the same rows in another order would wait for each other.
_PRUNE = """
delete from ban where (tenant, level, subject) in (
    select tenant, level, subject from ban where forget_at <= now() order by forget_at limit $1 for update skip locked
)
"""


class PostgresBanTransaction:
    """The port's transaction on a connection inside one."""

    def __init__(
        self,
        connection: Connection,
        outbox: Outbox[Connection],
        audit: AuditTrail[Connection],
        ledger: IdempotencyLedger[Connection],
    ) -> None:
        self._connection = connection
        self._outbox = outbox
        self._audit = audit
        self._ledger = ledger
        self.has_events = False

    async def claim(self, claim: Claim | None) -> None:
        if claim is not None and not (await self._ledger.claim(self._connection, [claim]))[0]:
            raise KeyTakenError

    async def answer(self, claim: Claim | None, result: object) -> None:
        if claim is not None:
            await self._ledger.answer(self._connection, [(claim, result)])

    async def put(self, ban: OperatorBan) -> Ban:
        found = await self._change(_PUT, *ban.subject, ban.reason, ban.actor, ban.duration)
        assert found is not None  # noqa: S101  for the type checker: there is a row in any case
        return found

    async def begin(self, ban: AutomaticBan) -> Ban | None:
        return await self._change(_BEGIN, *ban.subject, ban.rule, min(ban.first, ban.ceiling), ban.ceiling)

    async def lift(self, subject: BanSubject) -> Ban | None:
        return await self._change(_LIFT, *subject)

    async def emit(self, event: Event) -> None:
        await self._outbox.append(self._connection, [event], stream=_STREAM)
        self.has_events = True

    async def record(self, record: AuditRecord) -> None:
        await self._audit.record(self._connection, record)

    async def _change(self, statement: str, *values: object) -> Ban | None:
        row = await self._connection.fetchrow(statement, *values)
        if row is None:
            return None
        await self._connection.execute("select pg_notify($1, '')", _CHANGES)
        return _ban(row)


class PostgresBanStore:
    """The port on the service's own schema.

    :param outbox: gets the events.
    :param audit: gets the audit records. :param ledger: gets the answers of changes with an idempotency key.
    :param on_events: called after a commit that held events (wakes the relay).
    """

    def __init__(
        self,
        database: DatabaseManager,
        outbox: Outbox[Connection],
        audit: AuditTrail[Connection],
        ledger: IdempotencyLedger[Connection],
        on_events: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._audit = audit
        self._ledger = ledger
        self.idempotency = Idempotency(ledger, lambda: datetime.now(UTC))
        self._on_events = on_events

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresBanTransaction]:
        async with self._database.transaction() as connection:
            transaction = PostgresBanTransaction(connection, self._outbox, self._audit, self._ledger)
            yield transaction
        if transaction.has_events:
            self._on_events()

    async def ban(self, subject: BanSubject) -> Ban | None:
        row = await self._database.fetchrow(_ONE, *subject)
        return None if row is None else _ban(row)

    async def bans(self, tenant: str, level: str, after: tuple[str, str], limit: int) -> list[Ban]:
        return [_ban(row) for row in await self._database.fetch(_LIST, tenant, level, *after, limit)]

    async def changes(self, since: datetime | None) -> BanPage:
        rows = await self._database.fetch(_LOOK, None if since is None else since - _LATE_COMMITS)
        return BanPage([_ban(row) for row in rows if row["subject"] is not None], rows[0]["as_of"])

    @asynccontextmanager
    async def listen(self, callback: Callable[[], None]) -> AsyncIterator[None]:
        listening = await self._database.listen(_CHANGES, lambda _payload: callback())
        try:
            yield
        finally:
            await listening.close()

    async def prune(self) -> int:
        return int((await self._database.execute(_PRUNE, _PRUNE_BATCH)).rpartition(" ")[2])


def _ban(row: Any) -> Ban:
    subject = BanSubject(row["tenant"], row["level"], row["subject"])
    return Ban(
        subject=subject,
        reason=row["reason"],
        rule=row["rule"],
        actor=row["actor"],
        strikes=row["strikes"],
        started_at=row["started_at"],
        until=row["until"],
        is_lifted=row["lifted_at"] is not None,
    )
