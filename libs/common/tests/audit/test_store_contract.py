"""What every store of audit records promises, held against all of them."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from stylobate.audit import AuditRecord, AuditStore
from stylobate.audit.mongodb import MongoAuditStore
from stylobate.audit.postgres import PostgresAuditStore
from stylobate.audit.record import made_storable
from stylobate.database import MigrationSet
from stylobate.database.memory import MemoryTransaction
from stylobate.errors import ValueRefusedError

from .memory_store import MemoryAuditStore


@dataclass
class Bench:
    """A store, its transactions and what it holds."""

    store: AuditStore[Any]
    transaction: Callable[[], AbstractAsyncContextManager[Any]]
    actions: Callable[[], Awaitable[list[str]]]


@pytest.fixture
async def postgres(database_for: Any) -> Bench:
    """Give the store on PostgreSQL."""
    database = await database_for("test", MigrationSet.of("audit", "stylobate.audit"))

    async def actions() -> list[str]:
        return [row["action"] for row in await database.fetch("select action from audit_record order by id")]

    return Bench(PostgresAuditStore(database), database.transaction, actions)


@pytest.fixture
async def mongodb(mongo_for: Any) -> Bench:
    """Give the store on MongoDB."""
    database = await mongo_for("test", MigrationSet.of("audit", "stylobate.audit"))

    async def actions() -> list[str]:
        return [row["action"] for row in await database.find("audit_record", {}, sort=[("_id", 1)])]

    return Bench(MongoAuditStore(database), database.transaction, actions)


@pytest.fixture
def memory() -> Bench:
    """Give the store in memory."""
    store = MemoryAuditStore()

    async def actions() -> list[str]:
        return [record.action for record in store.records]

    return Bench(store, MemoryTransaction.begin, actions)


@pytest.fixture(params=["memory", "postgres", "mongodb"])
def bench(request: pytest.FixtureRequest) -> Any:
    """Give each kind of store in turn."""
    return request.getfixturevalue(request.param)


async def test_a_record_that_is_sent_again_stands_once(bench: Bench) -> None:
    """Records are told apart by their ids; whatever comes again is left as it is."""
    records = [AuditRecord("a"), AuditRecord("b")]
    await bench.store.insert(records[:1])
    await bench.store.insert(records)
    assert await bench.actions() == ["a", "b"]


async def test_a_record_lives_and_dies_with_the_transaction(bench: Bench) -> None:
    """A record of a transaction is kept when it is committed, and not after an error."""
    for action, error in (("kept", None), ("undone", RuntimeError)):
        with suppress(RuntimeError):
            async with bench.transaction() as transaction:
                await bench.store.insert([AuditRecord(action)], transaction)
                if error is not None:
                    raise error
    assert await bench.actions() == ["kept"]


@pytest.mark.parametrize("odd", [{"target": "x\0y"}, {"target": "\ud800"}, {"detail": {"of": object}}, {"outcome": "maybe"}])
async def test_one_that_cannot_be_kept_refuses_all(bench: Bench, odd: dict[str, Any]) -> None:
    """A record that cannot be kept as it is refuses its whole batch; made storable it is kept, unless its outcome is none."""
    record = AuditRecord("odd", **odd)
    with pytest.raises(ValueRefusedError):
        await bench.store.insert([AuditRecord("fine"), record])
    assert await bench.actions() == []
    if "outcome" not in odd:
        await bench.store.insert([made_storable(record)])
        assert await bench.actions() == ["odd"]
