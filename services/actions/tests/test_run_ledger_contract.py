"""What every ledger of runs promises, held against all of them."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from stylobate.database import MigrationSet
from stylobate.testing import FakeClock
from stylobate.testing.until import until
from stylobate_actions.store.memory import MemoryRunLedger
from stylobate_actions.store.mongodb import MongoRunLedger
from stylobate_actions.store.port import Begun, RunKey, RunLedger, Standing
from stylobate_actions.store.postgres import PostgresRunLedger

KEY = RunKey("default", "gateway/ada", "shop.place_order", "k")
HOLD, LIFETIME = timedelta(milliseconds=200), timedelta(hours=1)
LONG = timedelta(minutes=1)


@dataclass
class Bench:
    """A ledger that holds runs for long, one on the same runs that holds them shortly, and one that forgets them at once."""

    ledger: RunLedger
    brief: RunLedger
    mortal: RunLedger

    async def begun(self, key: RunKey = KEY, request: bytes = b"r", run_id: str = "1") -> Begun:
        """Begin a run that is to be had."""
        found = await self.ledger.begin(key, [request], run_id)
        assert isinstance(found, Begun)
        return found


TERMS = ((LONG, LIFETIME), (HOLD, LIFETIME), (HOLD, timedelta()))
RUNS = MigrationSet.of("actions", "stylobate_actions.store")


@pytest.fixture
def memory() -> Bench:
    """Give the ledger in memory."""
    ledgers = [MemoryRunLedger(lambda: datetime.now(UTC), *term) for term in TERMS]
    for other in ledgers[1:]:
        other._runs = ledgers[0]._runs
    return Bench(*ledgers)


@pytest.fixture
async def postgres(database_for: Any) -> Bench:
    """Give the one on PostgreSQL."""
    database = await database_for("actions", RUNS)
    return Bench(*(PostgresRunLedger(database, *term) for term in TERMS))


@pytest.fixture
async def mongodb(mongo_for: Any) -> Bench:
    """Give the one on MongoDB."""
    database = await mongo_for("actions", RUNS)
    return Bench(*(MongoRunLedger(database, *term) for term in TERMS))


@pytest.fixture(params=["memory", "postgres", "mongodb"])
def bench(request: pytest.FixtureRequest) -> Bench:
    """Give each kind of ledger in turn."""
    found: Bench = request.getfixturevalue(request.param)
    return found


async def test_a_run_is_begun_once_and_answered(bench: Bench) -> None:
    """While it is held nobody else is given it; once it is answered everybody is told the answer."""
    begun = await bench.begun()
    assert (begun.token, begun.run_id) == (1, "1")
    assert await bench.ledger.begin(KEY, [b"r"], "2") == Standing(request=b"r", answer=None)
    assert await bench.ledger.answer(KEY, begun.token, b"done")
    assert await bench.ledger.begin(KEY, [b"r"], "3") == Standing(request=b"r", answer=b"done")
    assert not await bench.ledger.answer(KEY, begun.token, b"again")
    await bench.ledger.release(KEY, begun.token)
    await bench.ledger.forget(KEY, begun.token)
    assert await bench.ledger.begin(KEY, [b"r"], "4") == Standing(request=b"r", answer=b"done")


async def test_another_request_is_told_from_the_first(bench: Bench) -> None:
    """It is told so whether the run is held, given up or answered."""
    begun = await bench.begun()
    assert await bench.ledger.begin(KEY, [b"other"], "2") == Standing(request=b"r", answer=None)
    await bench.ledger.release(KEY, begun.token)
    assert await bench.ledger.begin(KEY, [b"other"], "2") == Standing(request=b"r", answer=None)
    again = await bench.begun()
    await bench.ledger.answer(KEY, again.token, b"done")
    assert (await bench.ledger.begin(KEY, [b"other"], "2")) == Standing(request=b"r", answer=b"done")


async def test_keys_are_apart(bench: Bench) -> None:
    """Another tenant, caller, action or key is another run."""
    await bench.begun()
    for other in ({"tenant": "t"}, {"caller": "gateway/bob"}, {"action": "shop.pay_order"}, {"key": "l"}):
        assert (await bench.begun(KEY._replace(**other))).token == 1


async def test_a_run_that_was_given_up_goes_on_as_the_same(bench: Bench) -> None:
    """Whoever begins it again has its first id and time and a higher token; the one before can change nothing any more."""
    first = await bench.begun()
    await bench.ledger.release(KEY, first.token)
    second = await bench.begun(run_id="2")
    assert (second.token, second.run_id, second.began_at) == (2, "1", first.began_at)
    assert not await bench.ledger.answer(KEY, first.token, b"late")
    await bench.ledger.release(KEY, first.token)
    await bench.ledger.forget(KEY, first.token)
    assert await bench.ledger.renew([(KEY, first.token)]) == set()
    assert await bench.ledger.begin(KEY, [b"r"], "3") == Standing(request=b"r", answer=None)


async def test_a_run_that_is_forgotten_was_never_there(bench: Bench) -> None:
    """The key is free for another request, with an id of its own."""
    first = await bench.begun()
    await bench.ledger.forget(KEY, first.token)
    assert (await bench.begun(request=b"other", run_id="2")).run_id == "2"


async def test_a_run_whose_holder_is_gone_is_to_be_had(bench: Bench) -> None:
    """One that is not renewed is given to the next after a while; one that is renewed is not, however long it takes."""
    held = await bench.begun(KEY._replace(key="held"))
    gone = await bench.brief.begin(KEY, [b"r"], "1")
    assert isinstance(gone, Begun)
    assert await bench.ledger.renew([(KEY._replace(key="held"), held.token)]) == {KEY._replace(key="held")}
    taken = await until(lambda: bench.brief.begin(KEY, [b"r"], "2"), lambda found: isinstance(found, Begun))
    assert (taken.token, taken.run_id) == (gone.token + 1, gone.run_id)
    assert await bench.ledger.begin(KEY._replace(key="held"), [b"r"], "2") == Standing(request=b"r", answer=None)


async def test_one_that_ran_out_cannot_be_renewed(bench: Bench) -> None:
    """Whoever comes too late to renew it has lost it, also while nobody else was given it."""
    begun = await bench.brief.begin(KEY, [b"r"], "1")
    assert isinstance(begun, Begun)
    await until(lambda: bench.brief.renew([(KEY._replace(key="other"), 1)]), lambda kept: not kept)
    other = KEY._replace(key="clock")
    assert isinstance(await bench.brief.begin(other, [b"r"], "1"), Begun)
    await until(lambda: bench.brief.begin(other, [b"r"], "2"), lambda found: isinstance(found, Begun))  # so long it takes
    assert await bench.ledger.renew([(KEY, begun.token)]) == set()


async def test_of_many_one_begins(bench: Bench) -> None:
    """Of thirty at once one is given the run, also when it is one that was given up."""
    for _ in range(2):
        found = await asyncio.gather(*(bench.ledger.begin(KEY, [b"r"], str(number)) for number in range(30)))
        (begun,) = [one for one in found if isinstance(one, Begun)]
        assert {one for one in found if not isinstance(one, Begun)} <= {Standing(request=b"r", answer=None), None}
        await bench.ledger.release(KEY, begun.token)


async def test_what_has_expired_counts_as_missing(bench: Bench) -> None:
    """An expired run is no bar to another request, which is a run of its own; pruning removes it and no other."""
    expired = await bench.mortal.begin(KEY, [b"old"], "1")
    assert isinstance(expired, Begun)
    await bench.ledger.answer(KEY, expired.token, b"old")
    fresh = await bench.begun(request=b"new", run_id="2")
    assert fresh.run_id == "2"
    await bench.mortal.begin(KEY._replace(key="too"), [b"old"], "1")
    assert await bench.ledger.prune() == 1
    assert await bench.ledger.begin(KEY, [b"new"], "3") == Standing(request=b"new", answer=None)


async def test_the_clock_of_a_test_is_the_one_that_counts_in_memory() -> None:
    """A run in memory expires by the clock that it was given."""
    clock = FakeClock()
    ledger = MemoryRunLedger(clock, HOLD, LIFETIME)
    assert isinstance(await ledger.begin(KEY, [b"r"], "1"), Begun)
    clock.advance(LIFETIME)
    found = await ledger.begin(KEY, [b"other"], "2")
    assert isinstance(found, Begun)
    assert found.began_at == clock()
