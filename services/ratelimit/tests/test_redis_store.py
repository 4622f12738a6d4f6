"""The Redis adapter alone: what the contract cannot see."""

import asyncio
import sys
from contextlib import AsyncExitStack
from datetime import timedelta
from random import Random
from time import monotonic, time

import pytest
from stylobate.redis import RedisManager
from stylobate.testing.until import until
from stylobate_ratelimit.model import CheckGroup, Limit
from stylobate_ratelimit.store.memory import MemoryLimitStore
from stylobate_ratelimit.store.redis import RedisLimitStore

from .limits import MINUTE, charge, checks, gcra, level_set, window

SHORT = timedelta(seconds=1)
PATIENCE = timedelta(seconds=30)
"""For answers, where the machine may be busy."""
PROCESS = """
import asyncio, sys
from datetime import timedelta
from stylobate.redis import RedisManager
from stylobate_ratelimit.model import Algorithm, CheckGroup, LevelSet, Limit
from stylobate_ratelimit.store.redis import RedisLimitStore

async def main():
    levels = LevelSet((Limit("shared", Algorithm(sys.argv[2]), 400, timedelta(minutes=10)),), ("default",))
    async with RedisManager.open(sys.argv[1]) as redis:
        store = RedisLimitStore(redis, timedelta(seconds=20))
        async def attempts():
            passed = 0
            for _ in range(10):
                (outcome,) = await store.charge([CheckGroup(levels, ["anna"] * 5)])
                passed += sum(outcome.allowed)
            return passed
        print(sum(await asyncio.gather(*(attempts() for _ in range(20)))))

asyncio.run(main())
"""


@pytest.mark.parametrize("algorithm", ["window", "gcra"])
async def test_several_processes_pass_exactly_the_limit(valkey, redis_url, algorithm):
    """Three processes with 1,000 attempts each on one limit of 400: 400 pass, the whole of them."""
    started = monotonic()
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", PROCESS, redis_url, algorithm, stdout=asyncio.subprocess.PIPE)
        for _ in range(3)
    ]
    outputs = [await process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    passed = [int(output) for output, _ in outputs]
    # gcra gains a charge each 1.5 s of its 10 minutes; nothing beyond what the time allows may pass.
    gained = int((monotonic() - started) / 1.5) + 1 if algorithm == "gcra" else 0
    assert 400 <= sum(passed) <= 400 + gained


@pytest.mark.parametrize("limit", [window(100), gcra(100, timedelta(hours=1))], ids=["window", "gcra"])
async def test_several_connections_pass_exactly_the_limit(valkey, redis_url, limit):
    """Many tasks over several connections on one key: exactly the limit passes."""
    async with AsyncExitStack() as stack:
        stores = [RedisLimitStore(await stack.enter_async_context(RedisManager.open(redis_url)), PATIENCE) for _ in range(4)]

        async def one(store: RedisLimitStore) -> bool:
            return bool((await charge(store, checks(limit, "anna"))).allowed[0])

        results = await asyncio.gather(*(one(store) for _ in range(75) for store in stores))
    assert sum(results) == 100


async def test_every_key_keeps_an_expiry(valkey):
    """After every batch, refusals and second requests included, each key still expires, within its period."""
    store = RedisLimitStore(valkey, PATIENCE)
    levels = (window(3, name="w"), gcra(5, name="g"))
    for _ in range(5):
        await charge(store, checks(levels, *["anna", "anna"] * 2))
        keys = await valkey.call("KEYS", "*")
        assert len(keys) == 2
        for key in keys:
            assert 0 < await valkey.call("PTTL", key) <= 60_000


async def test_a_subject_left_alone_is_forgotten(valkey):
    """Nothing stays behind when limits are full again."""
    store = RedisLimitStore(valkey, PATIENCE)
    short = timedelta(milliseconds=50)
    await charge(store, checks((window(3, short, "w"), gcra(5, short, name="g")), "anna", "anna"))

    async def is_empty() -> bool:
        return await valkey.call("DBSIZE") == 0

    await until(is_empty)


async def test_a_script_that_the_server_forgot_is_sent_again(valkey):
    """SCRIPT FLUSH, as after a restart, costs nothing but a round trip."""
    store = RedisLimitStore(valkey, PATIENCE)
    limit = window(2)
    assert (await charge(store, checks(limit, "anna"))).allowed == [True]
    await valkey.call("SCRIPT", "FLUSH")
    assert (await charge(store, checks(limit, "anna", "anna"))).allowed == [True, False]


async def test_all_keys_share_a_slot_and_hold_the_tenant(valkey):
    """A batch runs on a cluster, and a tenant's keys can be found."""
    store = RedisLimitStore(valkey, PATIENCE)
    await charge(store, checks((window(3, name="w"), gcra(3, name="g")), "a", "b", tenant="acme"))
    assert {key.decode() for key in await valkey.call("KEYS", "*")} == {
        "{limits}:acme:w:w60000000:a",
        "{limits}:acme:g:g:b",
    }


@pytest.mark.parametrize("limit", [window(2, SHORT), gcra(2, SHORT)], ids=["window", "gcra"])
async def test_a_clock_put_back_locks_nobody_out(valkey, limit):
    """What was charged a day ahead of the server's clock is waited for a period at most, and then let go."""
    tomorrow = round((time() + 86_400) * 1e6)
    if limit.algorithm == "window":
        await valkey.call("RPUSH", "{limits}:default:orders:w1000000:anna", tomorrow, tomorrow)
    else:
        await valkey.call("SET", "{limits}:default:edge:g:anna", tomorrow)
    store = RedisLimitStore(valkey, PATIENCE)
    outcome = await charge(store, checks(limit, "anna"))
    assert list(outcome.allowed) == [False]
    assert outcome.retry_after_ms[0] <= 1_000
    assert outcome.reset_ms[0] <= 1_000

    async def passes() -> bool:
        return list((await charge(store, checks(limit, "anna"))).allowed) == [True]

    await until(passes)


async def test_a_charge_leaves_a_window_after_exactly_a_period(valkey):
    """Of charges 60.01, 59, 30 and 1 seconds old the first has left `4/minute`; the second is the next to leave."""
    seconds, micros = map(int, await valkey.call("TIME"))
    ages_us = (60_010_000, 59_000_000, 30_000_000, 1_000_000)
    times = [seconds * 1_000_000 + micros - age for age in ages_us]
    await valkey.call("RPUSH", "{limits}:default:orders:w60000000:anna", *times)
    store = RedisLimitStore(valkey, PATIENCE)
    outcome = await charge(store, checks(window(4), "anna", "anna"))
    assert list(outcome.allowed) == [True, False]
    assert 0 < outcome.retry_after_ms[1] <= 1_000
    outcome = await charge(store, checks(window(4), "anna", costs=[2]))
    assert 29_000 < outcome.retry_after_ms[0] <= 30_000


async def test_the_script_decides_as_the_memory_store_does(valkey):
    """Two hundred made-up batches: outcome by outcome the same as the adapter in Python, which is written apart from it."""
    random = Random(7)
    names = ["a", "b", "c", "d"]
    limits = {
        name: (window if name < "c" else gcra)(random.randint(1, 12), timedelta(seconds=random.randint(1, 90)), name=name)
        for name in names
    }
    limits["d"] = gcra(7, timedelta(seconds=13), burst=19, name="d")
    store = RedisLimitStore(valkey, PATIENCE)
    for number in range(200):
        groups = [_made_up(random, f"tenant{number}", limits) for _ in range(random.randint(1, 5))]
        memory = MemoryLimitStore(lambda: 1_000.0)
        assert await store.charge(groups) == await memory.charge(groups)


def _made_up(random: Random, tenant: str, limits: dict[str, Limit]) -> CheckGroup:
    levels = tuple(limits[name] for name in random.sample(sorted(limits), random.randint(1, 4)))
    count = random.randint(0, 12)
    subjects = [random.choice(["x", "y", "z"]) for _ in range(count * len(levels))]
    most = min(limit.capacity for limit in levels)
    costs = [random.randint(0, most) for _ in range(count)] if random.random() < 0.5 else []
    return CheckGroup(level_set(*levels, tenant=tenant), subjects, costs)


async def test_an_older_server_counts_the_same(valkey, redis_url):
    """One without the command that writes many keys at once: here it is forbidden. Each key has its second all the same."""
    await valkey.call("ACL", "SETUSER", "older", "on", ">older", "~*", "&*", "+@all", "-msetex")
    levels = tuple(gcra(5, timedelta(milliseconds=500), name=name) for name in "ab")
    async with RedisManager.open(redis_url.replace("unix://", "unix://older:older@")) as older:
        for number, server in enumerate((valkey, older)):
            group = checks(levels, *["x", "y"] * 6, tenant=f"t{number}")
            outcome = await charge(RedisLimitStore(server, PATIENCE), group)
            assert outcome.allowed == [True] * 5 + [False]
            keys = await valkey.call("KEYS", f"*:t{number}:*")
            assert sorted([0 < await valkey.call("PTTL", key) <= 1000 for key in keys]) == [True, True]


async def test_refusals_do_not_write(valkey):
    """A client that is refused for hours keeps nothing alive."""
    store = RedisLimitStore(valkey, PATIENCE)
    limit = window(1, MINUTE)
    await charge(store, checks(limit, "anna"))
    (key,) = await valkey.call("KEYS", "*")
    await valkey.call("PEXPIRE", key, 5_000)
    assert not (await charge(store, checks(limit, "anna"))).allowed[0]
    assert await valkey.call("PTTL", key) <= 5_000
