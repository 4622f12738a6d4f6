"""Nobody who waits for a log is forgotten, whenever he began to."""

import asyncio
from datetime import timedelta
from typing import Any

from stylobate.outbox import Position
from stylobate.outbox.postgres import PostgresEventLog
from stylobate.outbox.watch import LogWatch


class Held(PostgresEventLog):
    """A log whose look hangs, after it has seen the ends, until it is let go."""

    looking = asyncio.Event()
    go = asyncio.Event()

    async def head(self) -> Position:
        """Look, then wait."""
        head = await super().head()
        self.looking.set()
        await self.go.wait()
        return head


async def test_who_begins_to_wait_during_a_look_is_told_what_it_found(journal: Any) -> None:
    """A reader that comes while a look is under way hears of what that look sees, and needs no later event to wake it."""
    log = Held(journal.database, "test")
    watch = LogWatch(look_every=timedelta(hours=1))
    watch.add(log)
    origin, everywhere = Position.origin(), list(range(16))
    await journal.write("s1")
    await journal.number()
    first = asyncio.create_task(watch.beyond("test", origin, everywhere, None))
    await asyncio.wait_for(log.looking.wait(), 60)
    second = asyncio.create_task(watch.beyond("test", origin, everywhere, None))
    await asyncio.sleep(0)  # it waits now
    log.go.set()
    moved = await asyncio.wait_for(asyncio.gather(first, second), 60)
    assert moved[0] == moved[1] != []
    await watch.close()
