"""Bans in MongoDB, together with their events and audit records. All times are the primary's."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from stylobate.audit import AuditRecord, AuditTrail
from stylobate.database.mongodb import Document, MongoManager, MongoTransaction
from stylobate.idempotency import Claim, Idempotency, IdempotencyLedger, KeyTakenError
from stylobate.ids import new_id
from stylobate.outbox import Event, Outbox

from stylobate_ratelimit.ban import AutomaticBan, Ban, BanPage, BanSubject, OperatorBan

_BANS, _CHANGES, _STREAM = "ban", "ratelimit_bans", "ban"
_LATE_COMMITS = timedelta(seconds=30)
"""A transaction that began before a look may commit after it, with the time of its statement in its documents."""
_PRUNE_BATCH = 1000
_KEPT_MS = 3_600_000
"""A ban that is over is kept for an hour at least: whoever follows must hear that it was lifted."""
_NO_END = {"$eq": [{"$ifNull": ["$until", None]}, None]}
_HOLDS = {"$and": [{"$eq": ["$lifted_at", None]}, {"$or": [_NO_END, {"$gt": ["$until", "$$NOW"]}]}]}
_IS_THERE = {"$ne": [{"$type": "$strikes"}, "missing"]}


class MongoBanTransaction:
    """The port's transaction on one of MongoDB's."""

    def __init__(
        self,
        transaction: MongoTransaction,
        outbox: Outbox[MongoTransaction],
        audit: AuditTrail[MongoTransaction],
        ledger: IdempotencyLedger[MongoTransaction],
    ) -> None:
        self._transaction = transaction
        self._outbox = outbox
        self._audit = audit
        self._ledger = ledger
        self.has_events = False

    async def claim(self, claim: Claim | None) -> None:
        if claim is not None and not (await self._ledger.claim(self._transaction, [claim]))[0]:
            raise KeyTakenError

    async def answer(self, claim: Claim | None, result: object) -> None:
        if claim is not None:
            await self._ledger.answer(self._transaction, [(claim, result)])

    async def put(self, ban: OperatorBan) -> Ban:
        until = None if ban.duration is None else _in(_ms(ban.duration))
        forget_at = None if ban.duration is None else _in(_ms(ban.duration) + _KEPT_MS)
        row = await self._change(
            ban.subject,
            {
                "reason": {"$literal": ban.reason},
                "actor": {"$literal": ban.actor},
                "rule": "",
                "strikes": 0,
                "started_at": "$$NOW",
                "until": until,
                "forget_at": forget_at,
                "lifted_at": None,
                "changed_at": "$$NOW",
                "begun": "",
            },
        )
        return _ban(row)

    async def begin(self, ban: AutomaticBan) -> Ban | None:
        """See the port. Of two at the same moment the second is made to wait, and finds the ban of the first."""
        ceiling, first, begun = _ms(ban.ceiling), _ms(min(ban.first, ban.ceiling)), new_id()
        still_counts = {"$and": [{"$eq": ["$lifted_at", None]}, {"$gt": ["$until", {"$subtract": ["$$NOW", ceiling]}]}]}
        doubled = {"$multiply": [first, {"$pow": [2, {"$min": [{"$subtract": ["$count", 1]}, 30]}]}]}
        fresh: dict[str, Any] = {
            "reason": "",
            "actor": "",
            "rule": {"$literal": ban.rule},
            "strikes": "$count",
            "started_at": "$$NOW",
            "until": {"$add": ["$$NOW", {"$toLong": "$lasts"}]},
            "forget_at": {"$add": ["$$NOW", {"$toLong": "$lasts"}, max(ceiling, _KEPT_MS)]},
            "lifted_at": None,
            "changed_at": "$$NOW",
            "begun": begun,
        }
        steps: list[dict[str, Any]] = [
            {
                "$set": {
                    "holds": {"$and": [_IS_THERE, _HOLDS]},
                    "count": {"$cond": [still_counts, {"$add": ["$strikes", 1]}, 1]},
                }
            },
            {"$set": {"lasts": {"$min": [ceiling, doubled]}}},
            {"$set": {name: {"$cond": ["$holds", f"${name}", value]} for name, value in fresh.items()}},
            {"$unset": ["holds", "count", "lasts"]},
        ]
        row = await self._transaction.find_and_update(_BANS, _key(ban.subject), steps, upsert=True)
        if row is None or row["begun"] != begun:
            return None
        self._transaction.notify(_CHANGES)
        return _ban(row)

    async def lift(self, subject: BanSubject) -> Ban | None:
        over = {"strikes": 0, "lifted_at": "$$NOW", "changed_at": "$$NOW", "forget_at": _in(_KEPT_MS)}
        row = await self._transaction.find_and_update(_BANS, {**_key(subject), "$expr": _HOLDS}, [{"$set": over}])
        if row is None:
            return None
        self._transaction.notify(_CHANGES)
        return _ban(row)

    async def emit(self, event: Event) -> None:
        await self._outbox.append(self._transaction, [event], stream=_STREAM)
        self.has_events = True

    async def record(self, record: AuditRecord) -> None:
        await self._audit.record(self._transaction, record)

    async def _change(self, subject: BanSubject, values: Mapping[str, Any]) -> Document:
        row = await self._transaction.find_and_update(_BANS, _key(subject), [{"$set": values}], upsert=True)
        assert row is not None  # noqa: S101  for the type checker: it is made in any case
        self._transaction.notify(_CHANGES)
        return row


class MongoBanStore:
    """The port on the service's own database; see PostgresBanStore for what it is given."""

    def __init__(
        self,
        database: MongoManager,
        outbox: Outbox[MongoTransaction],
        audit: AuditTrail[MongoTransaction],
        ledger: IdempotencyLedger[MongoTransaction],
        on_events: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._audit = audit
        self._ledger = ledger
        self.idempotency = Idempotency(ledger, lambda: datetime.now(UTC))
        self._on_events = on_events

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MongoBanTransaction]:
        async with self._database.transaction() as own:
            transaction = MongoBanTransaction(own, self._outbox, self._audit, self._ledger)
            yield transaction
        if transaction.has_events:
            self._on_events()

    async def ban(self, subject: BanSubject) -> Ban | None:
        row = await self._database.find_one(_BANS, {**_key(subject), "$expr": _HOLDS})
        return None if row is None else _ban(row)

    async def bans(self, tenant: str, level: str, after: tuple[str, str], limit: int) -> list[Ban]:
        behind = [{"level": {"$gt": after[0]}}, {"level": after[0], "subject": {"$gt": after[1]}}]
        where: dict[str, Any] = {"tenant": tenant, "$or": behind, "$expr": _HOLDS}
        if level:
            where["level"] = level
        rows = await self._database.find(_BANS, where, sort=[("level", 1), ("subject", 1)], limit=limit)
        return [_ban(row) for row in rows]

    async def changes(self, since: datetime | None) -> BanPage:
        as_of = await self._database.now()
        where: dict[str, Any] = {"$expr": _HOLDS} if since is None else {"changed_at": {"$gte": since - _LATE_COMMITS}}
        return BanPage([_ban(row) for row in await self._database.find(_BANS, where)], as_of)

    @asynccontextmanager
    async def listen(self, callback: Callable[[], None]) -> AsyncIterator[None]:
        listening = await self._database.listen(_CHANGES, lambda _payload: callback())
        try:
            yield
        finally:
            await listening.close()

    async def prune(self) -> int:
        is_old = {"forget_at": {"$lte": await self._database.now()}}
        rows = await self._database.find(_BANS, is_old, {"_id": 1}, sort=[("forget_at", 1)], limit=_PRUNE_BATCH)
        if not rows:
            return 0
        return await self._database.delete(_BANS, {"_id": {"$in": [row["_id"] for row in rows]}, **is_old})


def _key(subject: BanSubject) -> dict[str, Any]:
    return {"tenant": subject.tenant, "level": subject.level, "subject": subject.subject}


def _ms(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)


def _in(milliseconds: int) -> dict[str, Any]:
    return {"$add": ["$$NOW", milliseconds]}


def _ban(row: Document) -> Ban:
    return Ban(
        subject=BanSubject(row["tenant"], row["level"], row["subject"]),
        reason=row["reason"],
        rule=row["rule"],
        actor=row["actor"],
        strikes=int(row["strikes"]),
        started_at=row["started_at"],
        until=row["until"],
        is_lifted=row["lifted_at"] is not None,
    )
