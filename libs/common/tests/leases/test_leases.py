"""Leases: what every store of them promises, and the work done under them; two managers stand for two processes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from stylobate.database import MigrationSet
from stylobate.leases import LeaseManager
from stylobate.leases.mongodb import MongoLeaseStore
from stylobate.leases.port import LeaseStore
from stylobate.leases.postgres import PostgresLeaseStore
from stylobate.testing.until import until

from .memory_store import MemoryLeaseStore

_LEASES = MigrationSet.of("leases", "stylobate.leases")
_LONG = timedelta(seconds=60)
_SHORT = timedelta(milliseconds=400)


@dataclass
class Bench:
    """A store of leases, and its clock in the test's hands."""

    store: LeaseStore
    shift: Callable[[str, timedelta], Awaitable[None]]
    """Lets a lease end at so much from now."""


@pytest.fixture
def memory():
    """Give leases in memory."""
    store = MemoryLeaseStore()

    async def shift(name, by):
        store._rows[name] = replace(store._rows[name], expires_at=datetime.now(UTC) + by)

    return Bench(store, shift)


@pytest.fixture
async def postgres(database):
    """Give leases on PostgreSQL."""

    async def shift(name, by):
        await database.execute("update lease set expires_at = clock_timestamp() + $2 where name = $1", name, by)

    return Bench(PostgresLeaseStore(database), shift)


@pytest.fixture
async def mongodb(mongo_for):
    """Give leases on MongoDB."""
    database = await mongo_for("shop", _LEASES)

    async def shift(name, by):
        until = {"$add": ["$$NOW", round(by.total_seconds() * 1000)]}
        await database.update_one("lease", {"_id": name}, [{"$set": {"until": until}}])

    return Bench(MongoLeaseStore(database), shift)


@pytest.fixture(params=["memory", "postgres", "mongodb"])
def bench(request):
    """Give each kind of store in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
async def database(database_for):
    """Give a database with the table of leases."""
    return await database_for("shop", _LEASES)


async def test_one_holds_it_at_a_time(bench):
    """While one holds a lease nobody else gets it, the holder itself included; other names are free."""
    one, two = LeaseManager(bench.store, "one", _LONG), LeaseManager(bench.store, "two", _LONG)
    lease = await one.acquire("relay")
    assert lease.token == 1
    assert await two.acquire("relay") is None
    assert await one.acquire("relay") is None
    assert (await two.acquire("timers")).token == 1


async def test_of_many_that_ask_at_once_one_gets_it(bench):
    """The race for a free lease has exactly one winner."""
    managers = [LeaseManager(bench.store, str(n), _LONG) for n in range(20)]
    leases = await asyncio.gather(*(manager.acquire("relay") for manager in managers))
    assert len([lease for lease in leases if lease is not None]) == 1


async def test_a_takeover_has_a_higher_token_and_the_late_holder_is_refused(bench):
    """After the time ran out another takes over; the former holder can neither renew nor release it any more."""
    one, two = LeaseManager(bench.store, "one", _LONG), LeaseManager(bench.store, "two", _LONG)
    late = await one.acquire("relay")
    assert await one.renew(late)
    await bench.shift("relay", timedelta())
    assert not await one.renew(late)
    taken = await two.acquire("relay")
    assert taken.token > late.token
    assert not await one.renew(late)
    await one.release(late)
    assert await two.renew(taken)


async def test_many_are_renewed_together(bench):
    """Those that are lost are told from the others, and stay lost."""
    one, two = LeaseManager(bench.store, "one", _LONG), LeaseManager(bench.store, "two", _LONG)
    tokens = {name: (await one.acquire(name)).token for name in ("kept", "ended", "taken", "older")}
    await bench.shift("ended", timedelta())
    await bench.shift("taken", timedelta())
    assert await two.acquire("taken") is not None
    assert await bench.store.renew("one", tokens, _LONG) == {"kept", "older"}
    assert await bench.store.renew("one", tokens | {"older": 9}, _LONG) == {"kept"}
    assert await bench.store.renew("one", {"kept": 1}, _LONG) == {"kept"}
    assert (await bench.store.standing("ended")).remaining <= timedelta()
    assert (await bench.store.standing("taken")).holder == "two"


async def test_all_that_a_process_holds_is_renewed(database):
    """Several leases of one manager are kept past the ttl; one that is lost ends its own work alone."""
    manager = LeaseManager(PostgresLeaseStore(database), "one", _SHORT)
    begun = []

    async def work(lease):
        begun.append((lease.name, lease.token))
        await asyncio.Event().wait()

    tasks = [asyncio.create_task(manager.run(name, work)) for name in ("a", "b", "c")]
    await until(lambda: len(begun) == 3)
    first = await database.fetchval("select max(expires_at) from lease")
    await until(lambda: database.fetchval("select min(expires_at) from lease"), lambda ends: ends >= first + 2 * _SHORT)
    assert len(begun) == 3
    await database.execute("update lease set holder = 'thief', token = 2, expires_at = clock_timestamp() where name = 'b'")
    await until(lambda: len(begun) == 4)
    assert begun[3] == ("b", 3)
    assert sorted(lease.name for lease in manager.held) == ["a", "b", "c"]
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert manager.held == ()


async def test_a_released_lease_is_free_at_once_and_tokens_never_repeat(bench):
    """Releasing does not wait for the time to run out, and each holder's token is higher than all before."""
    one, two = LeaseManager(bench.store, "one", _LONG), LeaseManager(bench.store, "two", _LONG)
    tokens = []
    for manager in (one, two, one):
        lease = await manager.acquire("relay")
        tokens.append(lease.token)
        await manager.release(lease)
        assert not await manager.renew(lease)
    assert tokens == [1, 2, 3]


async def test_work_runs_in_one_process_and_moves_on(bench):
    """Two processes want the work: one does it; when that one is stopped, the other goes on under a higher token."""
    started = asyncio.Queue()

    def work_of(name):
        async def work(lease):
            started.put_nowait((name, lease.token))
            await asyncio.Event().wait()

        return work

    tasks = {
        name: asyncio.create_task(LeaseManager(bench.store, name, _SHORT).run("relay", work_of(name))) for name in ("one", "two")
    }
    first, token = await started.get()
    tasks[first].cancel()
    second, higher = await started.get()
    assert (second != first, higher > token) == (True, True)
    for task in tasks.values():
        task.cancel()
    await asyncio.wait(tasks.values())


async def test_work_is_renewed_past_the_ttl(database):
    """A holder that works longer than the ttl keeps its lease."""
    manager = LeaseManager(PostgresLeaseStore(database), "one", _SHORT)
    renewed = asyncio.Event()

    async def work(lease):
        first = await database.fetchval("select expires_at from lease where name = $1", lease.name)
        while True:
            ends, alive = await database.fetchrow("select expires_at, expires_at > clock_timestamp() from lease")
            assert alive
            if ends - first > 2 * _SHORT:
                renewed.set()
            await asyncio.sleep(0.01)

    task = asyncio.create_task(manager.run("relay", work))
    async with asyncio.timeout(60):
        await renewed.wait()
    assert [lease.token for lease in manager.held] == [1]
    task.cancel()
    await asyncio.wait([task])
    assert manager.held == ()


async def test_work_is_cancelled_when_the_lease_is_lost(database):
    """A holder whose lease another one took stops working, and begins anew only under a token of its own."""
    begun, cancelled = asyncio.Queue(), asyncio.Queue()

    async def work(lease):
        begun.put_nowait(lease.token)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.put_nowait(lease.token)

    task = asyncio.create_task(LeaseManager(PostgresLeaseStore(database), "one", _SHORT).run("relay", work))
    assert await begun.get() == 1
    await database.execute("update lease set holder = 'thief', token = 2, expires_at = clock_timestamp() + interval '100 ms'")
    async with asyncio.timeout(60):
        assert await cancelled.get() == 1
        assert await begun.get() == 3
    task.cancel()
    await asyncio.wait([task])
    assert await cancelled.get() == 3


async def test_failing_work_is_begun_again(database):
    """Work that raises gives its lease back and is tried again; the loop does not end."""
    tries = asyncio.Queue()

    async def work(lease):
        tries.put_nowait(lease.token)
        raise ValueError

    task = asyncio.create_task(LeaseManager(PostgresLeaseStore(database), "one", _SHORT).run("relay", work))
    async with asyncio.timeout(60):
        assert [await tries.get() for _ in range(3)] == [1, 2, 3]
    task.cancel()
    await asyncio.wait([task])
    assert await database.fetchval("select expires_at <= clock_timestamp() from lease")


@pytest.mark.parametrize("ahead", [timedelta(seconds=11), timedelta(hours=1), timedelta(days=3650)])
async def test_a_lease_from_a_clock_that_was_ahead_is_free(bench, ahead):
    """A lease that ends further ahead than any can was written by a clock that was set back since: it binds nobody."""
    one, two = (
        LeaseManager(bench.store, "one", timedelta(seconds=5)),
        LeaseManager(bench.store, "two", timedelta(seconds=5)),
    )
    dead = await one.acquire("relay")
    await bench.shift("relay", ahead)
    assert "further ahead" in await two.vacancy("relay")
    taken = await two.acquire("relay")
    assert taken.token > dead.token
    assert await two.vacancy("relay") == ""
    assert await one.acquire("relay") is None


async def test_work_that_nobody_does_is_told(bench):
    """Why nobody holds a lease is told; while somebody does, or has only just let go, there is nothing to tell."""
    leases = LeaseManager(bench.store, "one", _SHORT)
    assert await leases.vacancy("relay") == "nobody ever took the lease"
    lease = await leases.acquire("relay")
    assert await leases.vacancy("relay") == ""
    await leases.release(lease)
    assert await leases.vacancy("relay") == ""
    await bench.shift("relay", timedelta(minutes=-1))
    assert "nobody took it" in await leases.vacancy("relay")
