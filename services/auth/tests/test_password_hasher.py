"""The threads that hash passwords."""

import asyncio
import os
import sys
import threading
from typing import Any

import pytest
from stylobate_auth.errors import HashingBusyError
from stylobate_auth.password_hasher import PasswordHasher


def _open(**changes: int) -> Any:
    return PasswordHasher.open(**({"memory_kib": 8, "time_cost": 1, "parallelism": 1, "threads": 1, "queue": 1} | changes))


async def test_a_hash_verifies_its_password_only() -> None:
    """Right is right, wrong is wrong, and what is not a hash matches nothing."""
    async with _open() as hasher:
        hashed = await hasher.hash("secret password")
        assert hashed.startswith("$argon2id$")
        assert await hasher.verify(hashed, "secret password")
        assert not await hasher.verify(hashed, "Secret password")
        assert not await hasher.verify("junk", "secret password")
        assert not await hasher.verify(None, "nobody's password")


async def test_the_form_of_characters_does_not_matter() -> None:
    """A password typed on another system, composed otherwise, is the same."""
    async with _open() as hasher:
        assert await hasher.verify(await hasher.hash("caf\u00e9 au lait"), "cafe\u0301 au lait")


async def test_other_parameters_are_noticed() -> None:
    """A hash made with other costs is outdated, one of today's is not."""
    async with _open() as old, _open(memory_kib=16) as new:
        hashed = await old.hash("secret password")
        assert new.is_outdated(hashed)
        assert not old.is_outdated(hashed)
        assert await new.verify(hashed, "secret password")


async def test_past_the_queue_callers_are_told_to_come_back() -> None:
    """With the thread taken and the queue full the next caller is refused at once, and served again afterwards."""
    async with _open() as hasher:
        gate = threading.Event()
        under_way = [asyncio.ensure_future(hasher._queue.run(gate.wait, share="a")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(HashingBusyError) as refused:
            await hasher.hash("secret password")
        assert refused.value.retry_after is not None
        gate.set()
        await asyncio.gather(*under_way)
        assert await hasher.hash("secret password")


async def test_a_caller_that_leaves_does_not_free_its_thread() -> None:
    """The place counts as taken until the thread is done: cancelled logins cannot pile up work."""
    async with _open(queue=0) as hasher:
        gate = threading.Event()
        started = threading.Event()
        caller = asyncio.ensure_future(hasher._queue.run(lambda: (started.set(), gate.wait()), share="a"))
        await asyncio.to_thread(started.wait)
        caller.cancel()
        await asyncio.wait([caller])
        with pytest.raises(HashingBusyError):
            await hasher.hash("secret password")
        gate.set()


async def test_the_loop_runs_on_while_passwords_are_hashed() -> None:
    """Hashing at full strength does not hold up the event loop."""
    async with _open(memory_kib=64 * 1024, time_cost=3) as hasher:
        hashing = asyncio.ensure_future(hasher.hash("secret password"))
        turns = 0
        while not hashing.done():
            await asyncio.sleep(0.001)
            turns += 1
        assert turns > 3


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")
async def test_the_threads_give_way() -> None:
    """To the loop that they run beside, which keeps its own priority."""
    async with PasswordHasher.open(memory_kib=8, time_cost=1, parallelism=1, threads=1, queue=8) as hasher:
        before = os.getpriority(os.PRIO_PROCESS, 0)
        await hasher.hash("not a secret")
        (thread,) = [one for one in threading.enumerate() if one.name.startswith("argon2")]
        assert os.getpriority(os.PRIO_PROCESS, thread.native_id or 0) >= 10
        assert os.getpriority(os.PRIO_PROCESS, 0) == before
