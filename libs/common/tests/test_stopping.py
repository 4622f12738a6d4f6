"""Background work ends when it is told to, also when a cancellation was lost on the way."""

import asyncio
import gc
from datetime import timedelta

import pytest
import structlog
from stylobate.stopping import check_cancelled, end, goes_on


async def swallow(times: int, began: asyncio.Event) -> None:
    """Wait forever, and lose some cancellations, as a driver can while an answer arrives."""
    while times >= 0:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            times -= 1


async def begun(work: "asyncio.Task[None]", began: asyncio.Event) -> "asyncio.Task[None]":
    """Return the task once it waits."""
    await began.wait()
    return work


@pytest.mark.parametrize("lost", [0, 1, 5])
async def test_a_task_that_loses_cancellations_is_cancelled_until_it_ends(lost: int) -> None:
    """However many got lost; what the task returns or raises is nobody's concern any more."""
    began = asyncio.Event()
    task = await begun(asyncio.create_task(swallow(lost, began)), began)
    assert await end([task], again_s=0.01)
    assert task.done()


async def test_a_task_that_never_ends_is_left_alone_and_named() -> None:
    """Closing has a bound: past it the task is named in the log, and whoever closes goes on."""
    began = asyncio.Event()
    task = asyncio.create_task(swallow(10**6, began), name="stubborn")
    other = asyncio.create_task(asyncio.Event().wait())
    with structlog.testing.capture_logs() as lines:
        assert not await end([await begun(task, began), other], within=timedelta(milliseconds=50), again_s=0.01)
    assert other.cancelled()
    assert "stubborn" in str(lines)
    task.get_coro().close()
    task._log_destroy_pending = False  # type: ignore[attr-defined]


async def test_one_lost_cancellation_ends_a_loop_at_its_next_turn() -> None:
    """A loop that looks needs no second cancellation."""
    turns, began = 0, asyncio.Event()

    async def loop() -> None:
        nonlocal turns
        while goes_on():
            turns += 1
            began.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue
        with pytest.raises(asyncio.CancelledError):
            check_cancelled()

    task = asyncio.create_task(loop())
    await began.wait()
    assert await end([task], again_s=3600)
    assert turns == 1


async def test_what_failed_before_is_not_raised_again() -> None:
    """A task that had failed, or fails when it is cancelled, disturbs nobody who closes."""

    async def fails() -> None:
        raise KeyError

    task = asyncio.create_task(fails())
    await asyncio.wait([task])
    assert await end([task])
    assert await end([])


async def test_a_timeout_is_no_wish_to_end() -> None:
    """Inside and after a timeout of its own a task goes on."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
    assert goes_on()
    check_cancelled()


async def test_what_fails_while_its_end_is_interrupted_is_seen() -> None:
    """Who ends tasks is cancelled while they fail: nobody asks for their exceptions, and the loop need not complain of them."""
    began, told = asyncio.Event(), []

    async def fail() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError

    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    ending = asyncio.create_task(end([asyncio.create_task(fail())]))
    await began.wait()
    ending.cancel()
    await asyncio.wait([ending])
    del ending
    gc.collect()
    assert told == []
