"""What every store of audit records promises, held against all of them."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from stylobate.audit import AuditQuery, AuditRecord, AuditStore
from stylobate.audit.mongodb import MongoAuditStore
from stylobate.audit.postgres import PostgresAuditStore
from stylobate.audit.record import made_storable
from stylobate.database import MigrationSet
from stylobate.database.memory import MemoryTransaction
from stylobate.errors import ValueRefusedError
from stylobate.identity import DEFAULT_TENANT

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


async def test_many_that_are_sent_again_stand_once(bench: Bench) -> None:
    """So do they where they come in numbers, of two tenants, and with others behind them, whatever they are kept as."""
    made = [AuditRecord(f"a{at:02}", tenant="acme" if at % 3 else "other", target="x" * (at == 5)) for at in range(30)]
    for some in (made[:20], made[:20], made):
        await bench.store.insert(some)
    for tenant in ("acme", "other"):
        told = (await bench.store.read(AuditQuery(tenant), 99)).records
        assert [record.action for record in reversed(told)] == [record.action for record in made if record.tenant == tenant]


@pytest.mark.parametrize("alike", [0, 8])
@pytest.mark.parametrize("odd", [{"actor": "x\0y"}, {"target": "\ud800"}, {"detail": {"of": object}}, {"outcome": "maybe"}])
async def test_one_that_cannot_be_kept_refuses_all(bench: Bench, odd: dict[str, Any], alike: int) -> None:
    """A record that cannot be kept as it is refuses its whole batch; made storable it is kept, unless its outcome is none."""
    record = AuditRecord("odd", **odd)
    with pytest.raises(ValueRefusedError):
        await bench.store.insert([AuditRecord("fine"), record, *(AuditRecord(f"fine{at}") for at in range(alike))])
    assert (await bench.store.read(AuditQuery(DEFAULT_TENANT), 99)).records == []
    if "outcome" not in odd:
        await bench.store.insert([made_storable(record)])
        assert await bench.actions() == ["odd"]


async def test_words_that_only_look_odd_are_kept(bench: Bench) -> None:
    """A backslash and a number is no NUL."""
    for some in ([AuditRecord("a", reason="\\u0000")], [AuditRecord("b", reason="\\\\u0000") for _ in range(8)]):
        await bench.store.insert(some)
    told = (await bench.store.read(AuditQuery(DEFAULT_TENANT), 99)).records
    assert [record.reason for record in reversed(told)] == ["\\u0000", *["\\\\u0000"] * 8]
