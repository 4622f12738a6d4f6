"""An outbox on a real PostgreSQL, and short ways to write to it and look at it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from stylobate.database import DatabaseManager, MigrationSet
from stylobate.outbox import Event, EventLog, LoggedEvent, Numbering, Outbox, Position
from stylobate.testing.fixtures import DatabaseFor

SETS = (MigrationSet.of("leases", "stylobate.leases"), MigrationSet.of("outbox", "stylobate.outbox"))


@dataclass
class Journal:
    """An outbox of the source `test` with a log."""

    database: DatabaseManager
    outbox: Outbox = field(init=False)
    log: EventLog = field(init=False)
    numbering: Numbering = field(init=False)

    def __post_init__(self) -> None:
        """Make the parts."""
        self.outbox = Outbox(self.database, "test")
        self.log = EventLog(self.database, "test")
        self.numbering = Numbering(self.database)

    async def write(self, *subjects: str, type: str = "test.thing.changed", tenant: str = "default") -> list[Event]:  # noqa: A002  as Event.new
        """Write an event for each subject, all in one transaction."""
        events = [Event.new(type, subject, {"of": subject}, tenant=tenant) for subject in subjects]
        async with self.database.transaction() as connection:
            await self.outbox.append(connection, events, stream="thing")
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
async def journal(database_for: DatabaseFor) -> Journal:
    """Give an outbox with nothing in it."""
    return Journal(await database_for("test", *SETS))


@pytest.fixture
def is_gap_free() -> Callable[[Sequence[LoggedEvent]], bool]:
    """Give the check of a log's numbers."""
    return gap_free


@pytest.fixture
def until() -> "Callable[..., object]":
    """Give a way to wait, with an end, for what tells nobody when it happens."""

    async def wait(holds: Callable[[], object], seconds: float = 15) -> None:
        async with asyncio.timeout(seconds):
            while not holds():  # noqa: ASYNC110  what is waited for tells nobody
                await asyncio.sleep(0.005)

    return wait
