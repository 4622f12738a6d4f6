"""What every ledger of idempotency keys promises, held against all of them."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from stylobate.database import MigrationSet
from stylobate.database.memory import MemoryTransaction
from stylobate.idempotency import Answer, Claim, IdempotencyLedger, KeyTakenError
from stylobate.idempotency.memory import MemoryIdempotencyLedger
from stylobate.idempotency.mongodb import MongoIdempotencyLedger
from stylobate.idempotency.postgres import _CLAIM, PostgresIdempotencyLedger
from stylobate.testing.until import until

NOW = datetime.now(UTC)
CLAIM = Claim("default", "/ada", "Put", "k", b"hash", NOW, NOW + timedelta(hours=1), str.encode)


@dataclass
class Bench:
    """A ledger and its transactions."""

    ledger: IdempotencyLedger[Any]
    transaction: Callable[[], AbstractAsyncContextManager[Any]]

    async def change(self, claim: Claim, result: str, *, fail: bool = False) -> bool:
        """Claim and answer in a transaction; return whether it was ours."""
        with suppress(RuntimeError):
            async with self.transaction() as transaction:
                (is_ours,) = await self.ledger.claim(transaction, [claim])
                if is_ours:
                    await self.ledger.answer(transaction, [(claim, result)])
                if fail:
                    raise RuntimeError
        return is_ours


@pytest.fixture
async def postgres(database_for: Any) -> Bench:
    """Give the ledger on PostgreSQL."""
    database = await database_for("test", MigrationSet.of("idempotency", "stylobate.idempotency"))
    return Bench(PostgresIdempotencyLedger(database), database.transaction)


@pytest.fixture
async def mongodb(mongo_for: Any) -> Bench:
    """Give the ledger on MongoDB."""
    database = await mongo_for("test", MigrationSet.of("idempotency", "stylobate.idempotency"))
    return Bench(MongoIdempotencyLedger(database), database.transaction)


@pytest.fixture
def memory() -> Bench:
    """Give the ledger in memory."""
    return Bench(MemoryIdempotencyLedger(), MemoryTransaction.begin)


@pytest.fixture(params=["memory", "postgres", "mongodb"])
def bench(request: pytest.FixtureRequest) -> Any:
    """Give each kind of ledger in turn."""
    return request.getfixturevalue(request.param)


async def test_an_answer_lives_and_dies_with_the_transaction(bench: Bench) -> None:
    """What was answered in a transaction that failed is not there, and the key is free; after a commit it is taken."""
    assert await bench.ledger.find(CLAIM) is None
    assert await bench.change(CLAIM, "lost", fail=True)
    assert await bench.ledger.find(CLAIM) is None
    assert await bench.change(CLAIM, "kept")
    assert await bench.ledger.find(CLAIM) == Answer(b"hash", b"kept")
    assert not await bench.change(CLAIM, "again")
    assert await bench.ledger.find(CLAIM) == Answer(b"hash", b"kept")


async def test_keys_are_apart(bench: Bench) -> None:
    """Another tenant, caller, method or key is another claim."""
    await bench.change(CLAIM, "first")
    for other in ({"tenant": "t"}, {"caller": "/bob"}, {"method": "Patch"}, {"key": "l"}):
        assert await bench.ledger.find(replace(CLAIM, **other)) is None
        assert await bench.change(replace(CLAIM, **other), "other")


async def test_a_claimed_key_is_refused_without_waiting(bench: Bench) -> None:
    """While one transaction holds a key another is told at once that it cannot have it, and others keys are free to it."""
    other = replace(CLAIM, key="other")
    async with bench.transaction() as first:
        assert await bench.ledger.claim(first, [CLAIM]) == [True]
        async with bench.transaction() as second:
            assert await bench.ledger.claim(second, [CLAIM, other, other]) == [False, True, False]
    assert await bench.change(CLAIM, "free again")


async def test_who_goes_away_while_it_takes_a_key_holds_it_no_longer(bench: Bench) -> None:
    """A caller that was cancelled at whatever moment is tried again with its key, and need not wait for anything."""
    for turns in range(0, 60, 3):
        claim = replace(CLAIM, key=str(turns))
        task = asyncio.create_task(bench.change(claim, "lost", fail=True))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert await until(partial(bench.change, claim, "again"), within_s=5), turns


async def test_an_answer_that_came_in_between_fails_the_transaction(bench: Bench) -> None:
    """Whoever answers a key that has an answer by now is told, so that its change is undone."""
    await bench.change(CLAIM, "first")
    with pytest.raises(KeyTakenError):
        async with bench.transaction() as transaction:
            await bench.ledger.answer(transaction, [(CLAIM, "second")])
    assert await bench.ledger.find(CLAIM) == Answer(b"hash", b"first")


async def test_what_has_expired_counts_as_missing(bench: Bench) -> None:
    """An expired answer is neither found nor in the way; pruning removes it and no other."""
    await bench.change(CLAIM, "old")
    await bench.change(replace(CLAIM, key="too"), "old")
    later = replace(CLAIM, at=NOW + timedelta(hours=1), expires_at=NOW + timedelta(hours=2))
    assert await bench.ledger.find(later) is None
    assert await bench.change(later, "new")
    assert await bench.ledger.find(later) == Answer(b"hash", b"new")
    assert await bench.ledger.prune(NOW + timedelta(hours=1)) == 1
    assert await bench.ledger.find(later) == Answer(b"hash", b"new")


async def test_claims_are_planned_once(postgres: Bench) -> None:
    """However many they are: PostgreSQL takes longer to plan a few than to look them up."""
    async with postgres.transaction() as transaction:
        for number in range(12):
            await postgres.ledger.claim(transaction, [replace(CLAIM, key=f"{number}")])
        asked = "select generic_plans, custom_plans from pg_prepared_statements where statement = $1"
        (plans,) = await transaction.fetch(asked, _CLAIM)
    assert (plans["generic_plans"], plans["custom_plans"]) == (7, 5)
