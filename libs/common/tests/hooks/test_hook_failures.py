"""`one` hooks that fail, hang, or whose target is away: nobody else is held up, nothing is lost."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest
from stylobate.database import DatabaseManager
from stylobate.errors import StylobateError, UnavailableError
from stylobate.hooks import HooksManager
from stylobate.hooks.hook import MAX_ATTEMPTS
from stylobate.outbox import Event
from stylobate.rpc.call import Cause, HookRecursionError
from stylobate.testing.until import until

Manager = Callable[..., HooksManager]


async def test_failing_event_is_tried_again_then_a_dead_letter(
    manager: Manager, start: Any, source: Any, database: DatabaseManager, listener: Any, settled: Any
) -> None:
    """An event that keeps failing is tried eight times, then put aside with its error, and the subject goes on."""
    attempts, heard = Counter[str](), listener()

    async def fails_on_bad(event: Event) -> None:
        attempts[event.id] += 1
        if event.subject == "bad" and event.value()["number"] == 0:
            raise KeyError("no such thing")
        await heard(event)

    hooks = manager()
    hooks.on("state.orders.changed", fails_on_bad, name="h")
    await start(hooks)
    bad, after = await source.write("bad", "bad")
    await until(lambda: heard.events)
    assert heard.ids() == [after.id]
    assert attempts == {bad.id: MAX_ATTEMPTS, after.id: 1}
    await settled(database, source)
    row = await database.fetchrow("select * from hook_dead_letter")
    assert row is not None
    assert (row["hook"], row["source"], row["tenant"], row["attempts"]) == ("h", "state", "default", MAX_ATTEMPTS)
    assert json.loads(row["event"])["id"] == bad.id
    assert row["error"] == "KeyError: 'no such thing'"


@pytest.mark.parametrize("is_remote", [False, True])
async def test_unavailable_target_is_waited_for(
    manager: Manager, start: Any, source: Any, database: DatabaseManager, is_remote: bool, listener: Any
) -> None:
    """While the target is unavailable the partition waits, past any number of attempts; then it goes on, nothing lost."""
    calls, is_up, heard = 0, False, listener()

    async def needs_target(event: Event) -> None:
        nonlocal calls
        calls += 1
        if is_up:
            return await heard(event)
        if is_remote:
            raise StylobateError.of(code=grpc.StatusCode.UNAVAILABLE, reason="ELSEWHERE", detail="down")
        raise UnavailableError

    hooks = manager()
    hooks.on("state.orders.changed", needs_target, name="h")
    await start(hooks)
    written = await source.write("s1", "s1")
    await until(lambda: calls > MAX_ATTEMPTS)
    assert heard.events == []
    is_up = True
    await until(lambda: len(heard.events) == 2)
    assert heard.ids() == [event.id for event in written]
    assert await database.fetchval("select count(*) from hook_dead_letter") == 0


async def test_run_that_takes_too_long_has_failed(manager: Manager, start: Any, source: Any, listener: Any) -> None:
    """A run past its timeout counts as a failed attempt and is made again."""
    calls, heard = 0, listener()

    async def hangs_once(event: Event) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await asyncio.Event().wait()
        await heard(event)

    hooks = manager()
    hooks.on("state.orders.changed", hangs_once, name="h", timeout=timedelta(milliseconds=50))
    await start(hooks)
    await source.write("s1")
    await until(lambda: heard.events)
    assert calls == 2


async def test_hook_that_cancels_itself_has_failed(manager: Manager, start: Any, source: Any, listener: Any) -> None:
    """A CancelledError that the hook raises by itself ends neither the hook nor its process: it is a failed attempt."""
    calls, heard = 0, listener()

    async def cancels_once(event: Event) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise asyncio.CancelledError
        await heard(event)

    hooks = manager()
    hooks.on("state.orders.changed", cancels_once, name="h")
    await start(hooks)
    await source.write("s1")
    await until(lambda: heard.events)


async def test_hooks_are_delivered_at_every_depth_and_may_change_nothing_at_the_third(
    manager: Manager, start: Any, source: Any, database: DatabaseManager, listener: Any
) -> None:
    """An event carries through the log how many hooks it lies under; observers hear it however deep; a write is refused there."""
    heard = listener()
    hooks = manager()
    hooks.on("state.orders.changed", heard, name="h")
    await start(hooks)
    for depth in (1, 2):
        await source.write("s1", cause=Cause(depth))
    with pytest.raises(HookRecursionError):
        Event.new("state.orders.changed", "s1", {}, cause=Cause(3))
    await until(lambda: len(heard.events) == 2)
    assert [event.depth for event in heard.events] == [1, 2]
    assert await database.fetchval("select count(*) from hook_dead_letter") == 0
