"""Limits on a Cluster: what holds where a check is counted behind several tags."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from stylobate.redis import RedisManager
from stylobate.testing.until import until
from stylobate_ratelimit.model import Charge, Limit
from stylobate_ratelimit.stand_in import StandIn
from stylobate_ratelimit.store.memory import MemoryLimitStore
from stylobate_ratelimit.store.redis import RedisLimitStore
from stylobate_ratelimit.store.redis_cluster import RedisClusterLimitStore
from stylobate_ratelimit.store.tagged_keys import SLOTS, lane_of

from .limits import charge, checks, gcra, window

PATIENCE = timedelta(seconds=30)
HOUR = timedelta(hours=1)


def _store(redis: RedisManager) -> RedisClusterLimitStore:
    return RedisClusterLimitStore(redis, StandIn(MemoryLimitStore()), PATIENCE)


def _elsewhere(subject: str, count: int) -> list[str]:
    """Return subjects that are not counted behind the tag of this one."""
    return [f"user{n}" for n in range(4 * count) if lane_of(f"user{n}") != lane_of(subject)][:count]


async def test_checks_that_come_one_by_one_are_decided_as_by_one_server(redis_cluster: RedisManager):
    """Of 300 made-up checks each is allowed, and leaves as much at each count, as where all stand in one place."""
    random = Random(11)
    limits = [
        window(6, HOUR, "w"),
        gcra(8, HOUR, name="g"),
        replace(gcra(3, HOUR, name="s"), is_shadow=True),
        gcra(5, HOUR, name="t"),
    ]
    names = [f"who{n}" for n in range(6)]
    store, memory = _store(redis_cluster), MemoryLimitStore(lambda: 1_000.0)
    told = []
    for _ in range(300):
        levels = tuple(random.sample(limits, random.randint(2, 4)))
        group = checks(levels, *(random.choice(names) for _ in levels), costs=[random.randint(0, 2)])
        ours, whole = await charge(store, group), await charge(memory, group)
        assert list(ours.allowed) == list(whole.allowed)
        assert list(ours.flags) == list(whole.flags)
        assert list(ours.standings[::2]) == list(whole.standings[::2])
        assert list(ours.remaining) == list(whole.remaining)
        told.append(ours.allowed[0])
    assert {True, False} == set(told)


@pytest.mark.parametrize("limit", [window(40, HOUR, "ip"), gcra(40, HOUR, name="ip")], ids=["window", "gcra"])
async def test_all_at_once_never_let_more_through_and_nothing_stays_counted(redis_cluster: RedisManager, limit: Limit):
    """Of 40 for an address and one for each of its users no count is passed; what was refused leaves room for others."""
    store, address = _store(redis_cluster), "192.0.2.1"
    levels = (limit, gcra(1, HOUR, name="user"))
    users = _elsewhere(address, 60)

    async def one(user: str) -> bool:
        return bool((await charge(store, checks(levels, address, user))).allowed[0])

    passed = sum(await asyncio.gather(*(one(user) for user in users[:20] for _ in range(5))))
    assert 0 < passed <= 20  # fewer than 20 may pass while charges of others, who are refused, stand

    async def is_given_back() -> bool:
        return (await charge(store, checks(limit, address, costs=[0]))).remaining == [40 - passed]

    await until(is_given_back)
    assert sum([await one(user) for user in users[:20]]) == 20 - passed
    assert sum([await one(user) for user in users[20:]]) == 20


@pytest.mark.parametrize("is_here", [False, True], ids=["master", "process"])
async def test_what_time_took_back_is_not_given_back(redis_cluster: RedisManager, *, is_here: bool):
    """A charge that costs nothing any more gives nothing to those who came after it."""
    lane = MemoryLimitStore() if is_here else RedisLimitStore(redis_cluster, PATIENCE, tag="limits0.20")
    limit = gcra(4, HOUR, name="g")
    (outcome,), at = await lane.charge_at([checks(limit, "anna", "anna")])
    charged = Charge("default", limit, "anna", 1, outcome.reset_ms[0])
    await lane.give_back([charged], at - outcome.reset_ms[0] * 1000)
    assert (await charge(lane, checks(limit, "anna", costs=[0]))).remaining == [2]
    await lane.give_back([charged], at)
    assert (await charge(lane, checks(limit, "anna", costs=[0]))).remaining == [3]
    await lane.give_back([charged] * 5, at)
    assert (await charge(lane, checks(limit, "anna", costs=[0]))).remaining == [4]
    (outcome,), at = await lane.charge_at([checks(window(4, HOUR), "anna", "anna")])
    await lane.give_back([Charge("default", window(4, HOUR), "anna", 1, 0)], at - 1)
    assert (await charge(lane, checks(window(4, HOUR), "anna", costs=[0]))).remaining == [2]


async def test_the_counts_of_a_subject_share_a_slot_and_subjects_are_spread(redis_cluster, valkey_cluster):
    """All its limits and refusals are behind one tag; every master counts."""
    store = _store(redis_cluster)
    levels = (window(3, HOUR, "w"), gcra(3, HOUR, name="g"))
    await charge(store, checks(levels, *[name for n in range(60) for name in (f"who{n}", f"who{n}")]))
    found = [key.decode() for keys in await valkey_cluster.all("KEYS", "*") for key in keys]
    assert len({key.partition("}")[0] for key in found if key.endswith(":who7")}) == 1
    assert len({key.partition("}")[0] for key in found}) == 8
    assert min(await valkey_cluster.all("DBSIZE")) >= 10
    await store.reset("default", levels[0], "who7")
    assert (await charge(store, checks(levels[0], "who7", costs=[0]))).remaining == [3]


async def test_a_batch_is_one_script_for_each_master(redis_cluster, valkey_cluster):
    """Checks behind all eight tags are three scripts; one whose subjects are at one master needs nothing given back."""
    store = _store(redis_cluster)
    tight, wide = gcra(1, HOUR, name="tight"), gcra(100, HOUR, name="wide")
    await charge(store, checks((wide, tight), "first", "first"))

    async def scripts() -> int:
        said = [told.decode() for told in await valkey_cluster.all("INFO", "commandstats")]
        return sum(int(one.partition("cmdstat_evalsha:calls=")[2].partition(",")[0] or 0) for one in said)

    before = await scripts()
    await charge(store, checks(wide, *[f"who{number}" for number in range(60)]))
    assert await scripts() - before == 3
    masters = redis_cluster.masters_of(SLOTS)
    near = next(name for name in _elsewhere("first", 40) if masters[lane_of(name)] == masters[lane_of("first")])
    before = await scripts()
    assert (await charge(store, checks((wide, tight), near, "first"))).allowed == [False]
    assert await scripts() - before == 1
    assert (await charge(store, checks(wide, near, costs=[0]))).remaining == [100]
