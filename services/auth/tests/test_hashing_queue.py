"""The queue in front of the hashing threads."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest
from stylobate_auth.errors import HashingBusyError
from stylobate_auth.hashing_queue import HashingQueue

HASH_S = 0.02


@asynccontextmanager
async def _queue(threads: int = 1, bound: int = 64) -> AsyncIterator[tuple[HashingQueue, threading.Event]]:
    """Give a queue whose threads are all held up until the event is set."""
    gate = threading.Event()
    with ThreadPoolExecutor(threads) as executor:
        queue = HashingQueue(executor, threads=threads, bound=bound)
        await queue.run(lambda: time.sleep(HASH_S), share="first")  # now it knows what a hash takes
        held = [asyncio.ensure_future(queue.run(gate.wait, share="held")) for _ in range(threads)]
        try:
            await asyncio.sleep(0)
            assert queue.running == threads
            yield queue, gate
        finally:
            gate.set()
            await asyncio.gather(*held)


def _later(queue: HashingQueue, work: Callable[[], Any], share: str, deadline: float = 0.0) -> "asyncio.Future[Any]":
    return asyncio.ensure_future(queue.run(work, share=share, deadline=deadline))


async def test_shares_take_turns():
    """However much one address has queued, another's first is next but one: they are served in turn, each in its order."""
    done: list[str] = []
    async with _queue() as (queue, gate):
        names = [*(f"many-{number}" for number in range(20)), "few-0", "few-1", "one-0"]
        waiting = [_later(queue, lambda name=name: done.append(name), name.partition("-")[0]) for name in names]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*waiting)
    assert done[:7] == ["many-0", "few-0", "one-0", "many-1", "few-1", "many-2", "many-3"]
    assert len(done) == len(names)


async def test_a_full_queue_makes_room_for_who_has_less():
    """The newest of the largest share gives way; the largest share itself gets no more."""
    async with _queue(bound=10) as (queue, gate):
        many = [_later(queue, int, "many") for _ in range(10)]
        await asyncio.sleep(0)
        with pytest.raises(HashingBusyError):
            await queue.run(int, share="many")
        few = [_later(queue, int, "few") for _ in range(3)]
        await asyncio.sleep(0)
        gate.set()
        answers = await asyncio.gather(*many, return_exceptions=True)
        assert await asyncio.gather(*few) == [0, 0, 0]
    assert answers[:7] == [0] * 7
    assert [type(answer) for answer in answers[7:]] == [HashingBusyError] * 3


async def test_a_flood_of_many_addresses_is_bounded():
    """Made-up addresses with one try each fill the queue and no more; whoever is refused hears when to come back."""
    async with _queue(bound=10) as (queue, gate):
        waiting = [_later(queue, int, f"address-{number}") for number in range(200)]
        await asyncio.sleep(0)
        assert queue.waiting == 10
        gate.set()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, HashingBusyError)]
    assert (answers.count(0), len(refused)) == (10, 190)
    assert all(answer.retry_after.total_seconds() >= 1 for answer in refused)


@pytest.mark.parametrize("threads", [1, 3])
async def test_nobody_waits_past_the_deadline(threads: int):
    """Behind threads that hang every caller is told so before its time is up: at once, or when it has become certain."""
    async with _queue(threads, bound=1000) as (queue, _gate):
        deadline = asyncio.get_running_loop().time() + 1.0

        async def call(number: int) -> Any:
            async with asyncio.timeout_at(deadline):  # as the RPC's deadline would
                return await queue.run(int, share=f"address-{number % 7}", deadline=deadline)

        answers = await asyncio.gather(*(call(number) for number in range(300)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {HashingBusyError}
        assert queue.waiting == 0
        assert queue.refused == 300


async def test_who_cannot_be_served_in_time_is_refused_at_once():
    """A caller whose turn would come too late by the pace of the last hashes does not wait for it."""
    async with _queue(bound=1000) as (queue, gate):
        soon = asyncio.get_running_loop().time() + 1.0
        waiting = [_later(queue, lambda: time.sleep(HASH_S), "many", soon) for _ in range(200)]
        await asyncio.sleep(0)
        refused = [call for call in waiting if call.done()]
        assert 100 < len(refused) < 200
        assert queue.waiting == 200 - len(refused)
        gate.set()
        await asyncio.gather(*waiting, return_exceptions=True)


class _Inline(Executor):
    """Has done the work when submit returns, as threads have on a machine that is busy enough."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


async def test_the_pace_is_known_however_the_threads_are_scheduled():
    """A hash that is over before the queue looks up again took its time all the same: the next knows that it comes too late."""
    queue = HashingQueue(_Inline(), threads=1, bound=10)
    await queue.run(lambda: time.sleep(0.5), share="first")
    soon = asyncio.get_running_loop().time() + 0.5  # less than a hash, and what is left for the rest
    begun = [_later(queue, int, "second"), _later(queue, int, "third", soon)]
    answers = await asyncio.gather(*begun, return_exceptions=True)
    assert answers[0] == 0
    assert isinstance(answers[1], HashingBusyError)


async def test_who_goes_away_leaves_the_queue():
    """Work whose caller was cancelled is never begun."""
    done: list[str] = []
    async with _queue() as (queue, gate):
        gone, stays = (_later(queue, lambda name=name: done.append(name), "share") for name in ("gone", "stays"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        assert queue.waiting == 1
        gate.set()
        await stays
    assert done == ["stays"]


async def test_a_failure_is_the_callers():
    """What the work raises reaches who asked, and the thread serves the next."""
    async with _queue() as (queue, gate):
        failing, fine = _later(queue, lambda: 1 // 0, "a"), _later(queue, int, "a")
        await asyncio.sleep(0)
        gate.set()
        with pytest.raises(ZeroDivisionError):
            await failing
        assert await fine == 0
