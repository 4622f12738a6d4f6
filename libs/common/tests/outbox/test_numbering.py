"""From written to numbered: nothing lost, nothing twice, no gap, order kept; whoever else is at it."""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import pytest
from stylobate.outbox import Event, LoggedEvent
from stylobate.outbox.postgres.numbering import _CLAIM, _SETTLED_S
from stylobate.testing.until import until

GapFree = Callable[[Sequence[LoggedEvent]], bool]


async def test_appending_outside_a_transaction_is_refused(journal: Any) -> None:
    """An event cannot be written apart from its change."""
    connection = await journal.database.acquire()
    try:
        with pytest.raises(ValueError, match="inside a transaction"):
            await journal.outbox.append(connection, [Event.new("a.b", "s", 1)], stream="thing")
    finally:
        await journal.database.release(connection)


async def test_writers_of_one_subject_keep_the_order_of_their_commits(journal: Any) -> None:
    """A second writer of the same subject waits for the first to commit, so the log has them in that order."""
    order: list[str] = []

    async def write(name: str, begun: asyncio.Event | None, go: asyncio.Event) -> None:
        async with journal.database.transaction() as connection:
            await journal.outbox.append(connection, [Event.new("a.b", "same", name)], stream="thing")
            if begun is not None:
                begun.set()
            await go.wait()
            order.append(name)

    begun, go = asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(write("first", begun, go))
    await begun.wait()
    free = asyncio.Event()
    free.set()
    second = asyncio.create_task(write("second", None, free))
    async with asyncio.timeout(60):  # until the second waits for the first's lock
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        await until(lambda: journal.database.fetchval(waiting))
    go.set()
    await asyncio.gather(first, second)
    assert order == ["first", "second"]
    assert [logged.event.value() for logged in await journal.number()] == order


async def test_two_at_once_number_each_event_once(journal: Any, is_gap_free: GapFree) -> None:
    """Two numberings with the same valid token, amid writers, as after a lost answer: no event twice, no gap, none left."""
    await journal.numbering.claim(1)
    writing = True

    async def write() -> None:
        for number in range(40):
            await journal.write(f"a{number}", f"b{number}", "hot")

    async def number() -> list[LoggedEvent]:
        found: list[LoggedEvent] = []
        while True:
            done = not writing
            batch = await journal.numbering.number(1)
            found += batch
            if done and not batch:
                return found

    relays = [asyncio.create_task(number()) for _ in range(2)]
    await asyncio.gather(write(), write())
    writing = False
    numbered = [logged for found in await asyncio.gather(*relays) for logged in found]
    log = await journal.all()
    assert len(numbered) == len({logged.event.id for logged in numbered}) == len(log) == 240
    assert is_gap_free(log)
    hot = [logged for logged in log if logged.event.subject == "hot"]
    sequence = await journal.database.fetch("select id::text from outbox_event where subject = 'hot' order by seq")
    assert [logged.event.id for logged in hot] == [row["id"] for row in sequence]


async def test_take_over_amid_a_numbering(journal: Any, is_gap_free: GapFree) -> None:
    """A relay whose statement has begun, and comes to the ends of the log after a newer lease took them, numbers nothing."""
    await journal.write(*(f"s{number}" for number in range(20)))
    await journal.numbering.claim(1)
    async with journal.database.transaction() as taking:
        await taking.execute(_CLAIM, 2)
        late = asyncio.create_task(journal.numbering.number(1))
        waiting = "select count(*) from pg_locks where not granted"
        await until(lambda: journal.database.fetchval(waiting), within_s=60)
    assert await late == []
    assert len(await journal.number(2)) == 20
    assert is_gap_free(await journal.all())


async def test_an_event_of_a_long_transaction_is_found_behind_thousands_of_others(journal: Any) -> None:
    """However long a transaction stays open, and however many rows behind its own were numbered meanwhile, its event is next."""
    late, number = Event.new("test.thing.changed", "late", {}), journal.numbering.number
    await journal.numbering.claim(1)
    began = monotonic()
    async with journal.database.transaction() as connection:
        await journal.outbox.append(connection, [late], stream="thing")
        while monotonic() < began + 5 * _SETTLED_S:
            await journal.write(*(f"s{number}" for number in range(20)))
            assert len(await number(1) or ()) == 20
        assert journal.numbering._watermark.seq == 0
    (found,) = await number(1) or ()
    assert found.event.id == late.id
    async with asyncio.timeout(60):
        while not journal.numbering._watermark.seq:  # and then the rows before it are passed over
            await journal.write("s")
            assert len(await number(1) or ()) == 1


async def test_a_transaction_has_its_id_before_its_events_draw_their_places(journal: Any) -> None:
    """Else a row could turn up behind the rows that the numbering believes to be the last of their time."""
    await journal.write("first")  # the sequence is logged with this, which takes an id, and not with the next ones
    await journal.database.execute(
        "create function is_known() returns trigger language plpgsql as $$ begin"
        " if pg_current_xact_id_if_assigned() is null then raise 'no id yet'; end if; return new; end $$;"
        "create trigger is_known before insert on outbox_event for each row execute function is_known()"
    )
    await journal.write("a", "b")
    assert len(await journal.number(1)) == 3
