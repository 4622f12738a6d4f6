"""The audit trail on a real PostgreSQL: with a transaction, in batches, through faults."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import pytest
from stylobate.audit import AuditRecord, AuditTrail, Outcome
from stylobate.audit.postgres import PostgresAuditStore
from stylobate.database import Connection, DatabaseManager, MigrationSet
from stylobate.errors import DatabaseUnavailableError
from stylobate.health import Status
from stylobate.testing.fixtures import DatabaseFor
from stylobate.testing.until import until

AUDIT = MigrationSet.of("audit", "stylobate.audit")
BRIEF = timedelta(milliseconds=20)


@pytest.fixture
async def database(database_for: DatabaseFor) -> DatabaseManager:
    """Give a database with the audit table."""
    return await database_for("test", AUDIT)


class Breakable:
    """A store that can be made to fail as one that is down does; in between it is the real one."""

    def __init__(self, database: DatabaseManager) -> None:
        self._store = PostgresAuditStore(database)
        self.is_down = False
        self.attempts = 0
        self.sent: list[list[str]] = []

    async def insert(self, records: Sequence[AuditRecord], transaction: Connection | None = None) -> None:
        """Write, or fail."""
        self.attempts += 1
        self.sent.append([record.action for record in records])
        if self.is_down:
            raise DatabaseUnavailableError
        await self._store.insert(records, transaction)


async def actions(database: DatabaseManager) -> list[str]:
    """Return the actions on record, in order."""
    return [row["action"] for row in await database.fetch("select action from audit_record order by id")]


async def test_record_lives_and_dies_with_the_transaction(database: DatabaseManager) -> None:
    """A record written in a transaction is there after the commit, whole, and not after a rollback."""
    async with AuditTrail.open(PostgresAuditStore(database), "test") as trail:
        record = AuditRecord(
            "auth.login",
            Outcome.DENIED,
            actor="u1",
            tenant="acme",
            target="user:u1",
            reason="X",
            request_id="r",
            detail={"n": [1]},
        )
        async with database.transaction() as connection:
            await trail.record(connection, record)
        with suppress(RuntimeError):
            async with database.transaction() as connection:
                await trail.record(connection, AuditRecord("undone"))
                raise RuntimeError
    row = await database.fetchrow("select * from audit_record")
    assert row is not None
    assert (row["action"], row["outcome"], row["actor"], row["tenant"]) == ("auth.login", "denied", "u1", "acme")
    assert (str(row["id"]), row["time"], json.loads(row["detail"])) == (record.id, record.time, {"n": [1]})
    assert await actions(database) == ["auth.login"]


async def test_notes_are_written_within_a_second(database: DatabaseManager) -> None:
    """What is noted appears in the table by itself, within a second, in as few statements as batches."""
    breakable = Breakable(database)
    async with AuditTrail.open(breakable, "test") as trail:
        for number in range(50):
            await trail.note(AuditRecord(f"a{number:02}"))
        await until(lambda: not trail._waiting, within_s=1)
    assert breakable.attempts == 1
    assert await actions(database) == [f"a{number:02}" for number in range(50)]


async def test_what_comes_while_a_batch_is_written_waits_for_others(database: DatabaseManager) -> None:
    """A few that come meanwhile are no batch of their own: a busy trail would write without a pause, a few at a time."""
    slow = WaitsForWord(database)
    async with AuditTrail.open(slow, "test", within=timedelta(hours=1)) as trail:
        for _ in range(1000):  # a whole batch is written at once
            await trail.note(AuditRecord("whole"))
        await slow.is_asked.wait()
        await trail.note(AuditRecord("few"))
        slow.word.set()
        await until(lambda: len(trail._waiting) == 1)
        await trail.note(AuditRecord("another"))
    assert [len(one) for one in slow.sent] == [1000, 2]


async def test_close_writes_what_waits(database: DatabaseManager) -> None:
    """Closing the trail leaves nothing in memory."""
    async with AuditTrail.open(PostgresAuditStore(database), "test", within=timedelta(hours=1)) as trail:
        await trail.note(AuditRecord("last"))
    assert await actions(database) == ["last"]


async def test_one_bad_record_harms_no_other(database: DatabaseManager) -> None:
    """A record that JSON or PostgreSQL cannot hold is stored as near as can be, its neighbours as they are."""
    async with AuditTrail.open(PostgresAuditStore(database), "test", within=BRIEF) as trail:
        for number in range(9):
            await trail.note(AuditRecord(f"a{number}"))
        await trail.note(AuditRecord("b", detail={"nul": "x\0y", "object": object, 3: {1}}))
        await trail.note(AuditRecord("c", target="\ud800"))
        async with database.transaction() as connection:
            await trail.record(connection, AuditRecord("d", actor="x\0y"))
    assert sorted(await actions(database)) == [*(f"a{number}" for number in range(9)), "b", "c", "d"]
    detail = json.loads(await database.fetchval("select detail from audit_record where action = 'b'"))
    assert detail["nul"] == "x\ufffdy"
    assert detail["3"] == [1]


async def test_record_that_the_table_refuses_is_counted(database: DatabaseManager) -> None:
    """A record that cannot be stored at all is counted as dropped; it does not stand in the way of others."""
    async with AuditTrail.open(PostgresAuditStore(database), "test", within=BRIEF) as trail:
        await trail.note(AuditRecord("odd", outcome="maybe"))  # type: ignore[arg-type]
        await trail.note(AuditRecord("fine"))
        await until(lambda: not trail._waiting)
        assert (await trail.health()).metrics["dropped"] == 1
    assert await actions(database) == ["fine"]


async def test_outage_keeps_notes(database: DatabaseManager) -> None:
    """Notes taken while the database is down are written when it is back, each once; meanwhile the trail is degraded."""
    breakable = Breakable(database)
    breakable.is_down = True
    async with AuditTrail.open(breakable, "test", within=BRIEF) as trail:
        await trail.note(AuditRecord("kept"))
        await until(lambda: breakable.attempts >= 2)
        assert (await trail.health()).status is Status.DEGRADED
        breakable.is_down = False
        await until(lambda: not trail._waiting)
        assert (await trail.health()).status is Status.HEALTHY
    assert await actions(database) == ["kept"]


async def test_bound_drops_only_while_down(database: DatabaseManager) -> None:
    """At the bound a caller waits for room; once the database is known to be down it goes on and the loss is counted."""
    breakable = Breakable(database)
    breakable.is_down = True
    async with AuditTrail.open(breakable, "test", bound=3, within=BRIEF) as trail:
        for number in range(3):
            await trail.note(AuditRecord(f"a{number}"))
        await asyncio.wait_for(trail.note(AuditRecord("one too many")), 60)
        assert (await trail.health()).metrics == {"waiting": 3, "dropped": 1}
        breakable.is_down = False
    assert await actions(database) == ["a0", "a1", "a2"]


async def test_bound_makes_callers_wait(database: DatabaseManager) -> None:
    """While the database writes, more notes than the bound are all written: their callers waited."""
    async with AuditTrail.open(PostgresAuditStore(database), "test", bound=5, within=BRIEF) as trail:
        await asyncio.gather(*(trail.note(AuditRecord(f"a{number:02}")) for number in range(40)))
    assert sorted(await actions(database)) == [f"a{number:02}" for number in range(40)]


async def test_loss_at_close_is_counted(database: DatabaseManager) -> None:
    """A trail that closes while the database stays down gives up after a while and counts what it lost."""
    breakable = Breakable(database)
    breakable.is_down = True
    async with AuditTrail.open(breakable, "test", within=BRIEF) as trail:
        await trail.note(AuditRecord("lost"))
    assert (await trail.health()).metrics == {"waiting": 0, "dropped": 1}


async def test_lost_answer_does_not_write_twice(database: DatabaseManager) -> None:
    """A batch whose commit was not answered is sent again as it was, and stands once."""
    lossy = LosesFirstAnswer(database)
    async with AuditTrail.open(lossy, "test", within=BRIEF) as trail:
        await trail.note(AuditRecord("once"))
        await until(lambda: lossy.attempts == 1)
        await trail.note(AuditRecord("later"))
    assert lossy.sent == [["once"], ["once"], ["later"]]
    assert await actions(database) == ["once", "later"]


class LosesFirstAnswer(Breakable):
    """A store whose connection breaks right after the first commit."""

    async def insert(self, records: Sequence[AuditRecord], transaction: Connection | None = None) -> None:
        """Write; the first time the answer is lost."""
        await super().insert(records, transaction)
        if self.attempts == 1:
            raise DatabaseUnavailableError


class WaitsForWord(Breakable):
    """A store that takes its time."""

    def __init__(self, database: DatabaseManager) -> None:
        super().__init__(database)
        self.is_asked, self.word = asyncio.Event(), asyncio.Event()

    async def insert(self, records: Sequence[AuditRecord], transaction: Connection | None = None) -> None:
        """Write when told to."""
        self.is_asked.set()
        await self.word.wait()
        await super().insert(records, transaction)
