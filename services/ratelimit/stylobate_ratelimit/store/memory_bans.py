"""Bans in this process: for tests."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from stylobate.audit import AuditRecord
from stylobate.database.memory import MemoryTransaction
from stylobate.idempotency import Claim, Idempotency, KeyTakenError
from stylobate.idempotency.memory import MemoryIdempotencyLedger
from stylobate.outbox import Event

from stylobate_ratelimit.ban import AutomaticBan, Ban, BanPage, BanSubject, OperatorBan

_MOST_DOUBLINGS = 30


@dataclass(frozen=True, slots=True)
class _Row:
    ban: Ban
    changed_at: datetime
    forget_at: datetime | None


class MemoryBanStore:
    """The port on a dictionary.

    :param clock: the store's time.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.ledger = MemoryIdempotencyLedger()
        self.idempotency = Idempotency(self.ledger, clock)
        self._rows: dict[BanSubject, _Row] = {}
        self._lock = asyncio.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self.events: list[Event] = []
        """What was left in the outbox, in order."""
        self.records: list[AuditRecord] = []

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["MemoryBanTransaction"]:
        async with MemoryTransaction.begin() as transaction:
            await transaction.hold(self._lock)
            yield MemoryBanTransaction(self, transaction)

    async def ban(self, subject: BanSubject) -> Ban | None:
        row = self._rows.get(subject)
        return row.ban if row is not None and row.ban.holds(self._clock()) else None

    async def bans(self, tenant: str, level: str, after: tuple[str, str], limit: int) -> list[Ban]:
        now = self._clock()
        found = [row.ban for subject, row in sorted(self._rows.items()) if subject.tenant == tenant and subject[1:] > after]
        return [ban for ban in found if ban.holds(now) and level in {"", ban.subject.level}][:limit]

    async def changes(self, since: datetime | None) -> BanPage:
        now = self._clock()
        rows = self._rows.values()
        found = [row.ban for row in rows if (row.ban.holds(now) if since is None else row.changed_at >= since)]
        return BanPage(found, now)

    @asynccontextmanager
    async def listen(self, callback: Callable[[], None]) -> AsyncIterator[None]:
        self._callbacks.append(callback)
        try:
            yield
        finally:
            self._callbacks.remove(callback)

    async def prune(self) -> int:
        now = self._clock()
        gone = [subject for subject, row in self._rows.items() if row.forget_at is not None and row.forget_at <= now]
        for subject in gone:
            del self._rows[subject]
        return len(gone)

    def change(self, transaction: MemoryTransaction, ban: Ban, keep: timedelta) -> Ban:
        """Keep a ban when the transaction commits, and for a time after its end."""
        now = self._clock()
        end = now if ban.is_lifted else ban.until
        row = _Row(ban, now, None if end is None else end + max(keep, timedelta(hours=1)))

        def commit() -> None:
            self._rows[ban.subject] = row
            for callback in self._callbacks:
                callback()

        transaction.on_commit(commit)
        return ban

    def last(self, subject: BanSubject) -> tuple[Ban | None, datetime]:
        """Return the subject's last ban, also one that is over, and the time."""
        row = self._rows.get(subject)
        return row.ban if row is not None else None, self._clock()


class MemoryBanTransaction:
    """The port's transaction."""

    def __init__(self, store: MemoryBanStore, transaction: MemoryTransaction) -> None:
        self._store = store
        self._transaction = transaction

    async def claim(self, claim: Claim | None) -> None:
        if claim is not None and not (await self._store.ledger.claim(self._transaction, [claim]))[0]:
            raise KeyTakenError

    async def answer(self, claim: Claim | None, result: object) -> None:
        if claim is not None:
            await self._store.ledger.answer(self._transaction, [(claim, result)])

    async def put(self, ban: OperatorBan) -> Ban:
        _, now = self._store.last(ban.subject)
        until = now + ban.duration if ban.duration is not None else None
        return self._store.change(self._transaction, Ban(ban.subject, ban.reason, "", ban.actor, 0, now, until), timedelta(0))

    async def begin(self, ban: AutomaticBan) -> Ban | None:
        last, now = self._store.last(ban.subject)
        if last is not None and last.holds(now):
            return None
        counts = last is not None and not last.is_lifted and last.until is not None and last.until > now - ban.ceiling
        strikes = last.strikes + 1 if last is not None and counts else 1
        lasts = min(ban.ceiling, ban.first * 2 ** min(strikes - 1, _MOST_DOUBLINGS))
        return self._store.change(self._transaction, Ban(ban.subject, "", ban.rule, "", strikes, now, now + lasts), ban.ceiling)

    async def lift(self, subject: BanSubject) -> Ban | None:
        last, now = self._store.last(subject)
        if last is None or not last.holds(now):
            return None
        return self._store.change(self._transaction, replace(last, strikes=0, is_lifted=True), timedelta(0))

    async def emit(self, event: Event) -> None:
        self._transaction.on_commit(lambda: self._store.events.append(event))

    async def record(self, record: AuditRecord) -> None:
        self._transaction.on_commit(lambda: self._store.records.append(record))
