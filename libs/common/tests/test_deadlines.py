"""Deadlines that share a timer."""

import asyncio

from stylobate.deadlines import Deadlines
from stylobate.testing.until import until


async def test_each_is_told_at_its_own_time_and_the_discarded_never() -> None:
    """The nearest first, whenever it was added; a time that has passed is told at once."""
    loop, told = asyncio.get_running_loop(), list[tuple[str, bool]]()
    deadlines, now = Deadlines(loop), loop.time()

    def note(name: str, at: float) -> None:
        told.append((name, loop.time() >= at - 0.001))

    for name, after in (("last", 0.06), ("discarded", 0.02), ("first", 0.01), ("second", 0.03), ("passed", -1.0)):
        deadlines.add(name, now + after, note, name, now + after)
    deadlines.discard("discarded")
    deadlines.discard("never added")
    await until(lambda: len(told) == 4)
    assert told == [("passed", True), ("first", True), ("second", True), ("last", True)]


async def test_what_one_raises_keeps_nobody_waiting() -> None:
    """The others are told all the same; one may add another."""
    loop, told = asyncio.get_running_loop(), list[int]()
    loop.set_exception_handler(lambda _, context: told.append(-1))
    deadlines, now = Deadlines(loop), loop.time()

    def fail() -> None:
        deadlines.add(3, loop.time(), told.append, 3)
        raise ValueError

    deadlines.add(1, now, fail)
    deadlines.add(2, now, told.append, 2)
    await until(lambda: set(told) == {-1, 2, 3})
