"""A subject that fails stands aside: the others of its partition go on, its own order holds, nothing is forgotten."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import timedelta
from itertools import repeat
from typing import Any

import grpc
import pytest
from stylobate.database import DatabaseManager
from stylobate.errors import PermissionDeniedError, StylobateError, UnavailableError
from stylobate.hooks import HooksManager
from stylobate.hooks.hook import MAX_ATTEMPTS
from stylobate.hooks.port import Place
from stylobate.hooks.postgres import PostgresHookStore
from stylobate.hooks.verdict import BY_CODE, Verdict
from stylobate.hooks.worker import SUBJECTS_ASIDE
from stylobate.outbox import Event, partition_of
from stylobate.testing.until import until

Manager = Callable[..., HooksManager]
NEVER_AGAIN = repeat(3600.0)


def neighbours(count: int) -> list[str]:
    """Return subjects that lie in one partition."""
    return [name for name in (f"s{number}" for number in range(count * 40)) if partition_of("default", name) == 3][:count]


async def rows(database: DatabaseManager, query: str, expected: int) -> None:
    """Wait until a count in the database is what is expected."""
    await until(lambda: database.fetchval(query), lambda found: found == expected, within_s=60)


@pytest.mark.parametrize("fault", ["fails", "hangs", "is unavailable"])
async def test_a_subject_that_cannot_be_dealt_with_delays_no_other(
    manager: Manager, start: Any, source: Any, listener: Any, fault: str
) -> None:
    """While a hook fails, hangs or finds its target away for one subject, every other subject of the partition is heard."""
    bad, *good = neighbours(20)
    heard = listener()

    async def poisoned(event: Event) -> None:
        if event.subject != bad:
            await heard(event)
        elif fault == "hangs":
            await asyncio.Event().wait()
        else:
            raise UnavailableError if fault == "is unavailable" else KeyError("poison")

    hooks = manager(retries=lambda: NEVER_AGAIN, aside_after=timedelta(milliseconds=20))
    hooks.on("state.orders.changed", poisoned, name="h")
    await start(hooks)
    await source.write(*(subject for one in good for subject in (bad, one) * 6))
    await until(lambda: len(heard.events) == 6 * len(good))
    assert (await hooks.health()).metrics["aside"] == 6 * len(good)


async def test_each_code_has_its_verdict(
    manager: Manager, start: Any, source: Any, database: DatabaseManager, settled: Any
) -> None:
    """Of every gRPC code it is decided, and carried out, whether the event comes again: never, eight times, or for long."""
    codes = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
    assert set(codes) == set(BY_CODE)
    attempts = Counter[str]()

    async def refused(event: Event) -> None:
        attempts[event.subject] += 1
        code = grpc.StatusCode[event.subject]
        raise StylobateError.of(code=code, reason="R", detail="refused", retry_after=None)

    hooks = manager(outage_limit=timedelta(seconds=1))
    hooks.on("state.orders.changed", refused, name="h")
    await start(hooks)
    await source.write(*(code.name for code in codes))
    await rows(database, "select count(*) from hook_dead_letter", len(codes))
    expected = {Verdict.NEVER: 1, Verdict.AGAIN: MAX_ATTEMPTS}
    for code in codes:
        assert attempts[code.name] == expected.get(BY_CODE[code], attempts[code.name]), code
    assert attempts["UNAVAILABLE"] > 1
    await settled(database, source)
    assert await database.fetchval("select count(*) from hook_aside") == 0


async def test_asked_to_wait_counts_for_no_attempt(manager: Manager, start: Any, source: Any, listener: Any) -> None:
    """A limit that says when to come again is waited for, however often."""
    calls, heard = 0, listener()

    async def limited(event: Event) -> None:
        nonlocal calls
        calls += 1
        if calls <= MAX_ATTEMPTS:
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            raise StylobateError.of(code=code, reason="RATE_LIMITED", detail="", retry_after=timedelta(milliseconds=1))
        await heard(event)

    hooks = manager()
    hooks.on("state.orders.changed", limited, name="h")
    await start(hooks)
    await source.write("s1")
    await until(lambda: heard.events)


async def test_order_per_subject_holds_whatever_fails(
    manager: Manager, start: Any, source: Any, listener: Any, database: DatabaseManager, settled: Any
) -> None:
    """However runs fail, take long or find their target away, each subject's events succeed in their order, each once."""
    chance, heard, subjects = random.Random(7), listener(), neighbours(8)

    async def unsteady(event: Event) -> None:
        match chance.randrange(6):
            case 0:
                raise KeyError("now and then")
            case 1:
                raise UnavailableError
            case 2:
                await asyncio.sleep(0.01)
        await heard(event)

    hooks = manager(aside_after=timedelta(milliseconds=2))
    hooks.on("state.orders.changed", unsteady, name="h")
    await start(hooks)
    written = await source.write(*chance.choices(subjects, k=200))
    await until(lambda: len(heard.events) >= 200)
    expected: dict[str, list[str]] = defaultdict(list)
    for event in written:
        expected[event.subject].append(event.id)
    assert heard.by_subject() == expected
    await settled(database, source)
    await rows(database, "select count(*) from hook_aside", 0)


async def test_what_stands_aside_outlives_the_process(
    manager: Manager, start: Any, source: Any, database: DatabaseManager, listener: Any, settled: Any
) -> None:
    """The next process goes on with the subject's events in their order, its attempts counted on, and repeats no other."""
    bad, good = neighbours(2)
    calls, first, second = Counter[str](), listener(), listener()

    async def fails(event: Event) -> None:
        calls[event.id] += 1
        if event.subject == bad:
            raise KeyError("poison")
        await first(event)

    hooks = manager(retries=lambda: NEVER_AGAIN)
    hooks.on("state.orders.changed", fails, name="h")
    stop = await start(hooks)
    written = await source.write(bad, good, bad, good, bad)
    await rows(database, "select count(*) from hook_aside", 3)
    await rows(database, "select count(*) from hook_aside where attempts = 1", 1)
    await settled(database, source)
    await stop()
    assert len(first.events) == 2

    async def half(event: Event) -> None:
        calls[event.id] += 1
        if event.id == written[0].id:
            raise KeyError("poison")
        await second(event)

    hooks = manager()
    hooks.on("state.orders.changed", half, name="h")
    await start(hooks)
    (more,) = await source.write(bad)
    await until(lambda: len(second.events) == 3)
    assert second.ids() == [written[2].id, written[4].id, more.id]
    assert calls[written[0].id] == MAX_ATTEMPTS
    assert await database.fetchval("select event->>'id' from hook_dead_letter") == written[0].id


async def test_no_more_than_so_many_stand_aside(
    manager: Manager, start: Any, source: Any, database: DatabaseManager, listener: Any
) -> None:
    """Past the bound a partition waits at the next subject that fails; when the target is back everything is heard in order."""
    is_up, heard = False, listener()

    async def needs_target(event: Event) -> None:
        if not is_up:
            raise UnavailableError
        await heard(event)

    hooks = manager()
    hooks.on("state.orders.changed", needs_target, name="h")
    await start(hooks)
    written = await source.write(*neighbours(SUBJECTS_ASIDE + 5))
    await rows(database, "select count(*) from hook_aside", SUBJECTS_ASIDE)
    assert (await hooks.health()).metrics["pending"] == 5
    is_up = True
    await until(lambda: len(heard.events) == len(written))
    assert sorted(heard.ids()) == sorted(event.id for event in written)


async def test_a_target_that_is_away_for_good_is_given_up(
    manager: Manager, start: Any, source: Any, database: DatabaseManager
) -> None:
    """Past the limit an event whose target is unavailable is a dead letter with the reason, and so are those behind it."""
    hooks = manager(outage_limit=timedelta(milliseconds=200))

    async def gone(_: Event) -> None:
        raise UnavailableError

    hooks.on("state.orders.changed", gone, name="h")
    await start(hooks)
    await source.write("s1", "s1")
    await rows(database, "select count(*) from hook_dead_letter", 2)
    errors = {row["error"] for row in await database.fetch("select error from hook_dead_letter")}
    assert len(errors) == 1
    assert "UNAVAILABLE" in errors.pop()


async def test_late_holder_changes_nothing_aside(manager: Manager, start: Any, source: Any, database: DatabaseManager) -> None:
    """Once a newer token has taken over, what the older one says about an event that stands aside changes nothing."""
    hooks = manager(retries=lambda: NEVER_AGAIN)

    async def fails(_: Event) -> None:
        raise KeyError("poison")

    hooks.on("state.orders.changed", fails, name="h")
    stop = await start(hooks)
    (event,) = await source.write("s1")
    await rows(database, "select count(*) from hook_aside where attempts = 1", 1)
    await stop()
    store = PostgresHookStore(database)
    stored = await database.fetchrow("select token from hook_position limit 1")
    assert stored is not None
    mine = Place("h", "state", event.partition, stored["token"])
    late = Place("h", "state", event.partition, stored["token"] - 1)
    kept = await store.first_aside(late, "default", "s1")
    assert kept is not None
    assert not await store.put_aside(late, kept.logged)
    assert not await store.failed_aside(late, kept, 7, "late")
    assert not await store.bury_aside(late, kept, 7, "late")
    assert not await store.done_aside(late, kept)
    assert await database.fetchval("select attempts from hook_aside") == 1
    for _ in range(2):  # an answer that was lost is asked for again
        assert await store.bury_aside(mine, kept, 8, "mine")
    assert await database.fetchval("select count(*) from hook_dead_letter") == 1
    assert await database.fetchval("select count(*) from hook_aside") == 0


async def test_what_was_given_up_runs_again_when_told_to(
    manager: Manager, start: Any, source: Any, database: DatabaseManager, listener: Any
) -> None:
    """Whoever runs the hook goes on with it within seconds, once, without being started anew."""
    is_mended, heard = asyncio.Event(), listener()

    async def refuses(event: Event) -> None:
        if not is_mended.is_set():
            raise PermissionDeniedError
        await heard(event)

    hooks = manager()
    hooks.on("state.orders.changed", refuses, name="h")
    await start(hooks)
    (first,) = await source.write("s1")
    await rows(database, "select count(*) from hook_dead_letter", 1)
    is_mended.set()
    store = PostgresHookStore(database)
    (letter,) = await store.dead_letters()
    assert await store.redrive([letter.id]) == [letter.id]
    await until(lambda: len(heard.events) == 1, within_s=60)
    await rows(database, "select count(*) from hook_aside", 0)
    (second,) = await source.write("s1")
    await until(lambda: len(heard.events) == 2, within_s=60)
    assert [event.id for event in heard.events] == [first.id, second.id]
    assert await store.dead_letters() == []
