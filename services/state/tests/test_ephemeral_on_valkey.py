"""Ephemeral namespaces on Valkey: what its server and its scripts do for them."""

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from stylobate.clients.state import StateVersionConflictError
from stylobate.testing import FakeClock
from stylobate.testing.until import until
from stylobate_state.model import ListQuery
from stylobate_state.operation import Put
from stylobate_state.state_manager import StateManager
from stylobate_state.state_writer import Environment
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.redis import RedisStateStore
from stylobate_state.store.router import StoreRouter

from .ephemeral import PADS, SPACE, TTL, key
from .samples import ADA, write
from .test_any_store_contract import claim


@pytest.fixture
def valkey(redis: Any) -> Any:
    """Give the emptied Valkey."""
    return redis


@pytest.fixture
def pads(valkey: Any) -> RedisStateStore:
    """Give the pads on Valkey."""
    return RedisStateStore(valkey, "pads", TTL)


async def test_valkey_lets_objects_go_by_itself(valkey: Any) -> None:
    """By its own clock, and a change lets an object live on: the one that is changed all along outlives the other."""
    pads = RedisStateStore(valkey, "pads", timedelta(milliseconds=400))
    await pads.write([write(key("a"), 0), write(key("b"), 0)])

    async def is_b_gone() -> bool:
        await pads.write([write(key("a"), None)])
        return key("b") not in await pads.read([key("b")])

    await until(is_b_gone)
    assert [*await pads.read([key("a"), key("b")])] == [key("a")]
    assert await pads.count(ListQuery("default", "pads", 10)) == 1
    await until(lambda: _is_empty(pads))


async def _is_empty(pads: RedisStateStore) -> bool:
    return not (await pads.list_states(ListQuery("default", "pads", 10))).items


async def test_what_went_is_swept_up(pads: RedisStateStore, valkey: Any) -> None:
    """Writes take more out of the sets than they put in, and the sets themselves go some time after the last object."""
    await pads.write([write(key(f"{n}"), 0) for n in range(100)])
    for n in range(100):
        await valkey.call("DEL", f"{SPACE}o:{n}")
        await valkey.call("ZADD", f"{SPACE}due", 1, f"ada\0{n}")
    await pads.write([write(key("7"), 0, owner="bob")])
    for n in range(12):
        await pads.write([write(key("new"), None if n else 0)])
    for name in ("keys", "owned", "due"):
        assert await valkey.call("ZCARD", SPACE + name) == 2
        assert TTL.total_seconds() * 1000 <= await valkey.call("PTTL", SPACE + name) <= TTL.total_seconds() * 1000 + 600_000
    assert [state.key.key for state in (await pads.list_states(ListQuery("default", "pads", 10))).items] == ["7", "new"]


async def test_a_clock_that_was_put_back_repeats_no_version(pads: RedisStateStore, valkey: Any) -> None:
    """A new object begins above the highest version there was, though that lies in the future."""
    (first,) = await pads.write([write(key("a"), 0)])
    ahead = first.version + 10**12
    await valkey.call("HSET", f"{SPACE}meta", "top", ahead)
    (second,) = await pads.write([write(key("b"), 0)])
    assert second.version == ahead + 1


async def test_writes_that_arrive_together_leave_in_one_call(
    environment: Environment, pads: RedisStateStore, valkey: Any
) -> None:
    """A hundred changes at once are a few calls, each read and written in one go."""
    store = StoreRouter(MemoryStateStore(FakeClock()), {"pads": pads})
    async with StateManager.open({"pads": PADS}, replace(environment, store=store), max_data_bytes=10_000) as manager:
        await valkey.call("CONFIG", "RESETSTAT")
        await asyncio.gather(*(manager.change(ADA, "pads", f"{n}", Put(b"1"), expected=0) for n in range(100)))
        told = (await valkey.call("INFO", "commandstats")).decode()
    calls = [int(line.partition("calls=")[2].partition(",")[0]) for line in told.splitlines() if line.startswith("cmdstat_eval")]
    assert 1 <= sum(calls) <= 8  # 32 at a time at most, and of 32 that wait half may leave first


async def test_no_increment_is_lost_between_processes(environment: Environment, valkey: Any) -> None:
    """Forty callers of two managers count one object up, each for exactly the version that it saw: every win is in the sum."""
    async with AsyncExitStack() as stack:
        managers = []
        for _ in range(2):
            store = StoreRouter(MemoryStateStore(FakeClock()), {"pads": RedisStateStore(valkey, "pads", TTL)})
            opening = StateManager.open({"pads": PADS}, replace(environment, store=store), max_data_bytes=10_000)
            managers.append(await stack.enter_async_context(opening))
        first = await managers[0].change(ADA, "pads", "sum", Put(b"0"), expected=0)

        async def count_up(number: int) -> int:
            wins, manager = 0, managers[number % 2]
            for _ in range(10):
                (seen,) = await manager.get(ADA, [("pads", "sum")])
                with suppress(StateVersionConflictError):
                    await manager.change(ADA, "pads", "sum", Put(str(int(seen.data) + 1).encode()), expected=seen.version)
                    wins += 1
            return wins

        wins = sum(await asyncio.gather(*map(count_up, range(40))))
        (last,) = await managers[1].get(ADA, [("pads", "sum")])
        assert int(last.data) == wins == last.version - first.version
        assert wins >= 10


async def test_one_namespace_of_a_tenant_is_one_slot(pads: RedisStateStore, valkey: Any) -> None:
    """All that is kept of it carries its hash tag; an answer under an idempotency key is kept a day, not the namespace's time."""
    await pads.write([write(key("a}b{"), 0, group=1, claim=claim("k")), write(key("ä"), 0, group=1)])
    names = [name.decode() for name in await valkey.call("KEYS", "*")]
    assert len(names) == 7
    assert all(name.startswith(SPACE) for name in names)
    (answer,) = [name for name in names if name.startswith(f"{SPACE}i:")]
    assert 86_000_000 < await valkey.call("PTTL", answer) <= 86_400_000
