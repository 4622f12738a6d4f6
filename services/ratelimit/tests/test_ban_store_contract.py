"""What every store of bans promises, held against all of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from stylobate.audit import AuditRecord, AuditTrail
from stylobate.audit.mongodb import MongoAuditStore
from stylobate.audit.postgres import PostgresAuditStore
from stylobate.database import MigrationSet
from stylobate.idempotency import Claim, KeyTakenError
from stylobate.idempotency.mongodb import MongoIdempotencyLedger
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.outbox import Event
from stylobate.outbox.mongodb import MongoOutbox
from stylobate.outbox.postgres import PostgresOutbox
from stylobate.testing import FakeClock
from stylobate.testing.until import until
from stylobate_ratelimit.ban import AutomaticBan, BanSubject, OperatorBan
from stylobate_ratelimit.errors import BanInvalidError
from stylobate_ratelimit.store.memory_bans import MemoryBanStore
from stylobate_ratelimit.store.mongodb import MongoBanStore
from stylobate_ratelimit.store.postgres import PostgresBanStore

SETS = (
    MigrationSet.of("outbox"),
    MigrationSet.of("audit"),
    MigrationSet.of("idempotency"),
    MigrationSet.of("ratelimit", "stylobate_ratelimit.store"),
)
ANNA = BanSubject.of("user", "anna")
MINUTE = timedelta(minutes=1)


class _Memory:
    def __init__(self) -> None:
        self._clock = FakeClock()
        self.store = self.other = MemoryBanStore(self._clock)

    async def now(self) -> datetime:
        return self._clock()

    async def pass_time(self, by: timedelta) -> None:
        self._clock.advance(by)

    async def told(self) -> tuple[list[str], list[str]]:
        return [event.type for event in self.store.events], [record.action for record in self.store.records]


class _Postgres:
    """The store twice, on connections of its own each."""

    def __init__(self, databases: list[Any], trail: Any) -> None:
        self._database = databases[0]
        self.store, self.other = (
            PostgresBanStore(database, PostgresOutbox("ratelimit"), trail, PostgresIdempotencyLedger(database))
            for database in databases
        )

    async def now(self) -> datetime:
        return await self._database.fetchval("select now()")

    async def pass_time(self, by: timedelta) -> None:
        """Move what is there into the past: the server's clock is nobody's to move."""
        columns = ", ".join(f"{name} = {name} - $1::interval" for name in ("started_at", "until", "lifted_at", "forget_at"))
        await self._database.execute(f"update ban set {columns}", by)

    async def told(self) -> tuple[list[str], list[str]]:
        events = await self._database.fetch("select type from outbox_event order by seq")
        records = await self._database.fetch("select action from audit_record order by time, id")
        return [row["type"] for row in events], [row["action"] for row in records]


class _Mongo:
    """The store twice, with clients of its own each."""

    def __init__(self, databases: list[Any], trail: Any) -> None:
        self._database = databases[0]
        self.store, self.other = (
            MongoBanStore(database, MongoOutbox("ratelimit"), trail, MongoIdempotencyLedger(database)) for database in databases
        )

    async def now(self) -> datetime:
        return await self._database.now()

    async def pass_time(self, by: timedelta) -> None:
        """Move what is there into the past: the server's clock is nobody's to move."""
        earlier = round(by.total_seconds() * 1000)
        fields = ("started_at", "until", "lifted_at", "forget_at")
        await self._database.update_many("ban", {}, [{"$set": {name: {"$subtract": [f"${name}", earlier]} for name in fields}}])

    async def told(self) -> tuple[list[str], list[str]]:
        events = await self._database.find("outbox_event", {}, sort=[("version", 1), ("_id", 1)])
        records = await self._database.find("audit_record", {}, sort=[("time", 1), ("_id", 1)])
        return [row["type"] for row in events], [row["action"] for row in records]


@pytest.fixture
async def mongodb(mongo_for: Any) -> AsyncIterator[_Mongo]:
    """Return the MongoDB store."""
    databases = [await mongo_for("ratelimit", *SETS) for _ in range(2)]
    async with AuditTrail.open(MongoAuditStore(databases[0]), "ratelimit") as trail:
        yield _Mongo(databases, trail)


@pytest.fixture
async def postgres(database_for: Any) -> AsyncIterator[_Postgres]:
    """Return the PostgreSQL store."""
    databases = [await database_for("ratelimit", *SETS) for _ in range(2)]
    async with AuditTrail.open(PostgresAuditStore(databases[0]), "ratelimit") as trail:
        yield _Postgres(databases, trail)


@pytest.fixture(params=["memory", "postgres", "mongodb"])
def bench(request: pytest.FixtureRequest) -> Any:
    """Return a store, with another process's view of it."""
    return _Memory() if request.param == "memory" else request.getfixturevalue(request.param)


async def _put(store: Any, subject: BanSubject = ANNA, duration: timedelta | None = MINUTE, reason: str = "spam") -> Any:
    async with store.transaction() as transaction:
        return await transaction.put(OperatorBan(subject, duration, reason, "ada"))


async def _begin(store: Any, first: timedelta = MINUTE, ceiling: timedelta = 10 * MINUTE, subject: BanSubject = ANNA) -> Any:
    async with store.transaction() as transaction:
        return await transaction.begin(AutomaticBan(subject, "orders", first, ceiling))


async def _lift(store: Any, subject: BanSubject = ANNA) -> Any:
    async with store.transaction() as transaction:
        return await transaction.lift(subject)


async def test_a_ban_is_in_force_until_its_time_is_over(bench: Any) -> None:
    """It ends by itself, and another process sees the same."""
    put = await _put(bench.store)
    assert (put.reason, put.actor, put.rule, put.strikes, put.until - put.started_at) == ("spam", "ada", "", 0, MINUTE)
    assert await bench.other.ban(ANNA) == put
    await bench.pass_time(MINUTE)
    assert await bench.store.ban(ANNA) is None
    assert await bench.store.bans("default", "", ("", ""), 10) == []


async def test_a_ban_without_an_end_is_lifted_or_stays(bench: Any) -> None:
    """Lifting returns what it was; a second time there is nothing to lift."""
    await _put(bench.store, duration=None)
    await bench.pass_time(timedelta(days=1000))
    assert (await bench.other.ban(ANNA)).until is None
    assert (await _lift(bench.other)).is_lifted
    assert await bench.store.ban(ANNA) is None
    assert await _lift(bench.store) is None


async def test_what_is_put_replaces_what_was(bench: Any) -> None:
    """Also an automatic ban, and one that is over."""
    await _begin(bench.store)
    put = await _put(bench.store, duration=None, reason="for good")
    assert (put.rule, put.strikes, put.until) == ("", 0, None)
    assert await bench.store.ban(ANNA) == put


async def test_automatic_bans_double_up_to_the_ceiling(bench: Any) -> None:
    """1, 2, 4, 8, then 10 minutes; while one is in force none begins."""
    lasted = []
    for _ in range(6):
        ban = await _begin(bench.store)
        lasted.append((ban.strikes, ban.until - ban.started_at))
        assert await _begin(bench.other) is None
        await bench.pass_time(ban.until - ban.started_at)
    assert lasted == [(strikes, minutes * MINUTE) for strikes, minutes in enumerate((1, 2, 4, 8, 10, 10), 1)]


async def test_strikes_are_forgotten_after_the_ceiling_or_when_lifted(bench: Any) -> None:
    """Who kept to the limits for as long as the longest ban begins anew, and so does who was let off."""
    await _begin(bench.store)
    await bench.pass_time(MINUTE + 9 * MINUTE)
    assert (await _begin(bench.store)).strikes == 2
    await bench.pass_time(2 * MINUTE + 10 * MINUTE)
    assert (await _begin(bench.store)).strikes == 1
    await _lift(bench.store)
    assert (await _begin(bench.store)).strikes == 1


async def test_a_first_time_over_the_ceiling_is_the_ceiling(bench: Any) -> None:
    """A rule cannot ban for longer than it says."""
    ban = await _begin(bench.store, first=20 * MINUTE)
    assert ban.until - ban.started_at == 10 * MINUTE


async def test_of_many_at_the_same_moment_one_begins(bench: Any) -> None:
    """Every worker sees the refusals: there is one ban, with one strike."""
    begun = await asyncio.gather(*(_begin(store) for store in [bench.store, bench.other] * 10))
    assert [ban.strikes for ban in begun if ban is not None] == [1]


async def test_pages_are_by_level_and_subject(bench: Any) -> None:
    """Behind the last one of a page, only of the level, only of the tenant."""
    for level, name in (("user", "ben"), ("ip", "192.0.2.7"), ("user", "anna"), ("session", "s1")):
        await _put(bench.store, BanSubject.of(level, name))
    await _put(bench.store, BanSubject.of("user", "cara", "acme"))
    page = await bench.store.bans("default", "", ("", ""), 2)
    assert [ban.subject[1:] for ban in page] == [("ip", "192.0.2.7"), ("session", "s1")]
    page = await bench.store.bans("default", "", page[-1].subject[1:], 9)
    assert [ban.subject.subject for ban in page] == ["anna", "ben"]
    assert [ban.subject.subject for ban in await bench.store.bans("default", "user", ("", ""), 9)] == ["anna", "ben"]
    assert [ban.subject.subject for ban in await bench.store.bans("acme", "", ("", ""), 9)] == ["cara"]


async def test_changes_tell_of_all_that_is_in_force_then_of_what_changed(bench: Any) -> None:
    """What is over is not told at first; later what was lifted is."""
    await _put(bench.store)
    await _put(bench.store, BanSubject.of("user", "ben"))
    await _lift(bench.store, BanSubject.of("user", "ben"))
    page = await bench.other.changes(None)
    assert [ban.subject for ban in page.bans] == [ANNA]
    assert abs(page.as_of - await bench.now()) < MINUTE
    await _lift(bench.store)
    found = {ban.subject: ban.is_lifted for ban in (await bench.other.changes(page.as_of)).bans}
    assert found[ANNA]


async def test_a_page_of_nothing_still_says_when(bench: Any) -> None:
    """Without bans there is a time to go on from."""
    page = await bench.store.changes(None)
    assert list(page.bans) == []
    assert list((await bench.store.changes(page.as_of + MINUTE)).bans) == []


async def test_who_listens_is_told(bench: Any) -> None:
    """Of each change, by whichever process."""
    heard: list[int] = []
    async with bench.other.listen(lambda: heard.append(1)):
        for change in (_put, _lift, _begin):
            before = len(heard)
            await change(bench.store)
            await until(lambda before=before: len(heard) > before)


async def test_a_change_its_event_and_its_record_are_one(bench: Any) -> None:
    """All three are there, or none."""
    with suppress(LookupError):
        async with bench.store.transaction() as transaction:
            ban = await transaction.put(OperatorBan(ANNA, MINUTE, "", "ada"))
            await transaction.emit(Event.new("ratelimit.ban.started", "user:anna", {"strikes": ban.strikes}))
            await transaction.record(AuditRecord("ratelimit.ban.started"))
            raise LookupError
    assert (await bench.store.ban(ANNA), await bench.told()) == (None, ([], []))
    async with bench.store.transaction() as transaction:
        await transaction.put(OperatorBan(ANNA, MINUTE, "", "ada"))
        await transaction.emit(Event.new("ratelimit.ban.started", "user:anna", {}))
        await transaction.record(AuditRecord("ratelimit.ban.started"))
    assert await bench.told() == (["ratelimit.ban.started"], ["ratelimit.ban.started"])


@pytest.mark.parametrize(
    ("written", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:DB8:1:2:0::7", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::/64", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("192.0.2.7/24", "192.0.2.0/24"),
        ("192.0.2.7/32", "192.0.2.7"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("::ffff:192.0.2.7/120", "192.0.2.0/24"),
        ("2001:DB8::7/32", "2001:db8::/32"),
        ("local", "local"),
    ],
)
def test_an_address_is_banned_as_limits_count_it(written: str, counted: str) -> None:
    """However it is written, and in nobody's tenant."""
    assert BanSubject.of("ip", written, "acme") == ("default", "ip", counted)


@pytest.mark.parametrize(
    ("level", "subject"),
    [
        ("ip", "192.0.2"),
        ("ip", "192.0.2.0/33"),
        ("ip", "0.0.0.0/0"),
        ("ip", "10.0.0.0/7"),
        ("ip", "2000::/15"),
        ("ip", "2001:db8:1:2::7/128"),
        ("ip", "fe80::1%eth0"),
        ("ip", ""),
        ("user", "x" * 513),
        ("user", "a\0"),
        ("route", "/"),
        ("", "x"),
    ],
)
def test_what_cannot_be_banned_is_refused(level: str, subject: str) -> None:
    """What is no address, everybody, a part of a /64, things, and texts that could not be kept."""
    with pytest.raises(BanInvalidError):
        BanSubject.of(level, subject)


def test_a_user_is_banned_by_id() -> None:
    """A ban of a mail address would keep nobody out."""
    ban = OperatorBan(BanSubject.of("user", "ada@example.com"), None, "", "op")
    with pytest.raises(BanInvalidError, match="by id"):
        ban.checked()


async def test_only_what_nobody_needs_any_more_is_pruned(bench: Any) -> None:
    """A ban that is over stays as long as its strikes count; one without an end stays."""
    await _begin(bench.store)
    await _put(bench.store, BanSubject.of("user", "ben"), duration=None)
    await bench.pass_time(5 * MINUTE)
    assert await bench.store.prune() == 0
    await bench.pass_time(timedelta(hours=2))
    assert await bench.store.prune() == 1
    assert await bench.store.ban(BanSubject.of("user", "ben")) is not None


async def test_a_change_and_its_answer_are_one(bench: Any) -> None:
    """A key is taken by one change; its answer is there when the ban is, and neither when the transaction failed."""
    now = await bench.now()
    claim = Claim("default", "/ops", "PutBan", "k", b"r", now, now + timedelta(hours=1), lambda ban: ban.reason.encode())

    async def put(*, fail: bool) -> None:
        async with bench.store.transaction() as transaction:
            await transaction.claim(claim)
            await transaction.answer(claim, await transaction.put(OperatorBan(ANNA, MINUTE, "why", "ops")))
            if fail:
                raise RuntimeError

    with suppress(RuntimeError):
        await put(fail=True)
    assert await bench.store.ban(ANNA) is None
    await put(fail=False)
    with pytest.raises(KeyTakenError):
        await put(fail=False)
    assert await bench.store.ban(ANNA) is not None
