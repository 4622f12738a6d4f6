"""An outbox on real databases, and short ways to write to it and look at it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import pytest
from stylobate.database import MigrationSet
from stylobate.database.memory import MemoryTransaction
from stylobate.outbox import Event, EventLog, LoggedEvent, Outbox, Position
from stylobate.outbox.memory import MemoryEventLog
from stylobate.outbox.mongodb import MongoEventLog, MongoNumbering, MongoOutbox
from stylobate.outbox.port import Numbering
from stylobate.outbox.postgres import PostgresEventLog, PostgresNumbering, PostgresOutbox
from stylobate.testing.fixtures import DatabaseFor, MongoFor

SETS = (MigrationSet.of("leases", "stylobate.leases"), MigrationSet.of("outbox", "stylobate.outbox"))


@dataclass
class Journal:
    """An outbox of the source `test` with a log, over one kind of store."""

    outbox: Outbox[Any]
    log: EventLog
    numbering: Numbering
    transaction: Callable[[], AbstractAsyncContextManager[Any]]
    database: Any = None
    """Of a kind that has one."""

    async def write(self, *subjects: str, type: str = "test.thing.changed", tenant: str = "default") -> list[Event]:  # noqa: A002  as Event.new
        """Write an event for each subject, all in one transaction."""
        events = [Event.new(type, subject, {"of": subject}, tenant=tenant) for subject in subjects]
        async with self.transaction() as transaction:
            await self.outbox.append(transaction, events, stream="thing")
        return events

    async def number(self, token: int = 1) -> list[LoggedEvent]:
        """Take over with the token and number everything there is."""
        await self.numbering.claim(token)
        numbered: list[LoggedEvent] = []
        while batch := await self.numbering.number(token):
            numbered += batch
        return numbered

    async def all(self) -> list[LoggedEvent]:
        """Read the whole log, page by page."""
        return (await self.after(Position.origin()))[0]

    async def after(self, position: Position) -> tuple[list[LoggedEvent], Position]:
        """Read the log from a position to its end."""
        events: list[LoggedEvent] = []
        while True:
            page = await self.log.read(position)
            if page.position == position:
                return events, position
            events += page.events
            position = page.position


def gap_free(events: Sequence[LoggedEvent]) -> bool:
    """Tell whether each partition's numbers are 1, 2, 3, … in this order."""
    seen: dict[int, int] = {}
    for logged in events:
        if logged.number != seen.get(logged.partition, 0) + 1:
            return False
        seen[logged.partition] = logged.number
    return True


@pytest.fixture
async def on_postgres(database_for: DatabaseFor) -> Journal:
    """Give an outbox with nothing in it, on PostgreSQL."""
    database = await database_for("test", *SETS)
    return Journal(
        PostgresOutbox("test"),
        PostgresEventLog(database, "test"),
        PostgresNumbering(database, "test"),
        database.transaction,
        database,
    )


@pytest.fixture
async def on_mongodb(mongo_for: MongoFor) -> Journal:
    """Give an outbox with nothing in it, on MongoDB."""
    database = await mongo_for("test", *SETS)
    return Journal(
        MongoOutbox("test"), MongoEventLog(database, "test"), MongoNumbering(database, "test"), database.transaction, database
    )


@pytest.fixture
def journal(on_postgres: Journal) -> Journal:
    """Give the one on PostgreSQL."""
    return on_postgres


@pytest.fixture(params=["memory", "postgres", "mongodb"])
def either(request: pytest.FixtureRequest) -> Journal:
    """Give an outbox with nothing in it, on each kind of store in turn."""
    if request.param != "memory":
        found: Journal = request.getfixturevalue(f"on_{request.param}")
        return found
    log = MemoryEventLog("test")
    return Journal(log, log, log, MemoryTransaction.begin)


@pytest.fixture
def is_gap_free() -> Callable[[Sequence[LoggedEvent]], bool]:
    """Give the check of a log's numbers."""
    return gap_free
