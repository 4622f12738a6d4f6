"""`each` hooks: every process, live, in the order of their priority."""

from collections.abc import Callable
from typing import Any

from stylobate.hooks import HooksManager
from stylobate.outbox import CHANNEL, Event
from stylobate.redis import RedisManager
from stylobate.testing.until import until


async def test_every_process_hears_it(redis: RedisManager, start: Any, source: Any) -> None:
    """Two processes without any database hear every committed event of the pattern, in order."""
    heard: tuple[list[str], list[str]] = ([], [])
    for ids in heard:

        async def keep(event: Event, ids: list[str] = ids) -> None:
            ids.append(event.id)

        hooks = HooksManager(redis)
        hooks.on("state.*.changed", keep, name="h", delivery="each")
        await start(hooks)
    written = await source.write("s1", "s1", "s1")
    await source.write("s1", type="state.orders.other")
    await until(lambda: all(len(ids) == 3 for ids in heard))
    assert heard == ([event.id for event in written],) * 2


async def test_priority_and_failure(redis: RedisManager, start: Any) -> None:
    """The lower number hears an event first; a hook that fails keeps it from nobody; overlapping patterns run once each."""
    order: list[str] = []
    hooks = HooksManager(redis)

    def hook(name: str) -> Callable[[Event], Any]:
        async def note(_: Event) -> None:
            order.append(name)
            if name == "fails":
                raise RuntimeError(name)

        return note

    hooks.on("state.orders.changed", hook("late"), name="late", priority=20, delivery="each")
    hooks.on("state.*.changed", hook("first"), name="first", priority=1, delivery="each")
    hooks.on("*.orders.changed", hook("fails"), name="fails", delivery="each")
    hooks.on("auth.orders.changed", hook("other"), name="other", delivery="each")
    await start(hooks)
    for number in range(2):
        event = Event.new("state.orders.changed", "s1", number, source="state")
        await redis.publish(CHANNEL + event.type, event.json())
    await until(lambda: len(order) == 6)
    assert order == ["first", "fails", "late"] * 2


async def test_junk_is_passed_over(redis: RedisManager, start: Any) -> None:
    """What is not an event harms nothing: the next one is heard."""
    heard: list[str] = []
    hooks = HooksManager(redis)

    async def keep(event: Event) -> None:
        heard.append(event.subject)

    hooks.on("state.*.changed", keep, name="h", delivery="each")
    await start(hooks)
    await redis.publish(f"{CHANNEL}state.orders.changed", b"{]")
    await redis.publish(f"{CHANNEL}state.orders.changed", Event.new("state.orders.changed", "s1", 1, source="state").json())
    await until(lambda: heard)
    assert heard == ["s1"]
