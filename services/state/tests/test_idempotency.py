"""Changes of state with an idempotency key, over every store, and through cut connections."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from stylobate.api.state.v1 import state_service_pb2 as pb
from stylobate.database import Connection, DatabaseManager
from stylobate.errors import DatabaseUnavailableError
from stylobate.idempotency import Claim, Idempotency, IdempotencyInProgressError, IdempotencyKeyReusedError, IdempotencyLedger
from stylobate.idempotency.memory import MemoryIdempotencyLedger
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.rpc.call import Call, current_call
from stylobate.testing import FakeClock
from stylobate.testing.fixtures import DatabaseFor
from stylobate_state.model import HistoryQuery, StateKey
from stylobate_state.servicer import StateServicer
from stylobate_state.state_manager import StateManager
from stylobate_state.state_writer import Environment
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.port import StateStore
from stylobate_state.store.postgres import PostgresStateStore
from stylobate_state.watch.watch_manager import WatchManager

from .conftest import MIGRATION_SETS, OpenKept
from .samples import ADA, NOTES

PUT = pb.PutStateRequest(namespace="notes", key="n", data=b'{"text": "first"}', idempotency_key="k")


def same(first: Any, again: Any) -> bool:
    """Whether the second answer is the first to the byte, beside saying that it is."""
    assert (first.replayed, again.replayed) == (False, True)
    again.replayed = False
    return bool(first.SerializeToString(deterministic=True) == again.SerializeToString(deterministic=True))


@dataclass
class Service:
    """The service over one store; calls are Ada's."""

    servicer: StateServicer
    store: StateStore

    async def call(self, method: str, request: Any) -> Any:
        """Make a call."""
        current_call.set(Call(principal=ADA))
        return await getattr(self.servicer, method)(request, None)

    async def put(self, request: pb.PutStateRequest = PUT) -> Any:
        """Make the usual call."""
        return await self.call("PutState", request)

    async def versions(self) -> list[int]:
        """Return the versions in the object's history, newest first."""
        found = await self.store.list_history(HistoryQuery(StateKey("default", "notes", "n"), 100))
        return [entry.version for entry in found.items]


@pytest.fixture
async def opened(environment: Environment, watches: WatchManager) -> AsyncIterator[Any]:
    """Give what opens a service over a store; it is closed afterwards."""
    managers: list[Any] = []

    async def open_one(store: StateStore, ledger: IdempotencyLedger[Any]) -> Service:
        managers.append(StateManager.open({"notes": NOTES}, replace(environment, store=store), max_data_bytes=10_000))
        manager = await managers[-1].__aenter__()
        return Service(StateServicer(manager, watches, Idempotency(ledger, lambda: datetime.now(UTC))), store)

    yield open_one
    for manager in managers:
        await manager.__aexit__(None, None, None)


@pytest.fixture
async def database(database_for: DatabaseFor) -> DatabaseManager:
    """Give a database of the service."""
    return await database_for("state", *MIGRATION_SETS)


@pytest.fixture
async def service(opened: Any, open_kept_or_none: OpenKept | None) -> Any:
    """Give the service on each kind of store in turn."""
    if open_kept_or_none is None:
        ledger = MemoryIdempotencyLedger()
        return await opened(MemoryStateStore(FakeClock(datetime.now(UTC)), ledger=ledger), ledger)
    kept = await open_kept_or_none()
    return await opened(kept.store, kept.ledger)


async def test_each_change_happens_once(service: Service) -> None:
    """Sent twice with their keys, put, patch and delete happen once each, and answer the same to the byte."""
    at = {"namespace": "notes", "key": "n"}
    calls = [
        ("PutState", PUT),
        ("PatchState", pb.PatchStateRequest(**at, patch=b'{"more": 1}', idempotency_key="k")),
        ("PutState", pb.PutStateRequest(**at, data=b"{}", expected_version=2, idempotency_key="exact")),
        ("DeleteState", pb.DeleteStateRequest(**at, idempotency_key="k")),
    ]
    for number, (method, request) in enumerate(calls, start=1):
        first, again = await service.call(method, request), await service.call(method, request)
        assert same(first, again)
        assert await service.versions() == list(range(number, 0, -1))


async def test_another_request_with_the_key_changes_nothing(service: Service) -> None:
    """A key that comes with other data is refused, and the object stays as the first left it."""
    await service.put()
    with pytest.raises(IdempotencyKeyReusedError):
        await service.put(pb.PutStateRequest(namespace="notes", key="n", data=b"{}", idempotency_key="k"))
    assert await service.versions() == [1]


async def test_a_step_is_held_against_its_object_and_method(service: Service) -> None:
    """A run that comes again may send other data; another object or method at the same step changes nothing."""
    at = {"namespace": "notes", "key": "n", "idempotency_key": "run"}
    first = await service.put(pb.PutStateRequest(**at, data=b'{"n": 1}', idempotency_step=1))
    assert same(first, await service.put(pb.PutStateRequest(**at, data=b'{"n": 2}', idempotency_step=1, expected_version=9)))
    for method, request in (
        ("PutState", pb.PutStateRequest(**at | {"key": "m"}, data=b"{}", idempotency_step=1)),
        ("PatchState", pb.PatchStateRequest(**at, patch=b"{}", idempotency_step=1)),
    ):
        with pytest.raises(IdempotencyKeyReusedError):
            await service.call(method, request)
    await service.put(pb.PutStateRequest(**at, data=b'{"n": 2}', idempotency_step=2))
    await service.put(pb.PutStateRequest(**at, data=b'{"n": 3}'))
    assert await service.versions() == [3, 2, 1]


async def test_the_version_is_not_held_against_the_first_call(service: Service) -> None:
    """Whoever sends a change again may have seen what it made: the answer is the first one's whatever version is expected."""
    first = await service.put(pb.PutStateRequest(namespace="notes", key="n", data=b"{}", expected_version=0, idempotency_key="k"))
    for expected in ({"expected_version": 1}, {"expected_version": 7}, {}):
        again = pb.PutStateRequest(namespace="notes", key="n", data=b"{}", idempotency_key="k", **expected)
        assert same(first, await service.put(again))
    assert await service.versions() == [1]


async def test_many_at_once_are_one_change(service: Service) -> None:
    """Of twenty equal calls at once one makes the change; the others get its answer or are told to come again."""
    answers = await asyncio.gather(*(service.put() for _ in range(20)), return_exceptions=True)
    assert all(isinstance(answer, (pb.PutStateResponse, IdempotencyInProgressError)) for answer in answers)
    first, *others = sorted(
        (answer for answer in answers if isinstance(answer, pb.PutStateResponse)), key=lambda answer: answer.replayed
    )
    assert all(same(first, other) for other in others)
    assert await service.versions() == [1]


class Cut(PostgresIdempotencyLedger):
    """A ledger under which the connection is cut once, between the change and its answer."""

    def __init__(self, database: DatabaseManager) -> None:
        super().__init__(database)
        self.is_cutting = True

    async def answer(self, transaction: Connection, results: Sequence[tuple[Claim, object]]) -> None:
        """Cut the transaction's connection, then go on as if nothing was the matter."""
        if self.is_cutting:
            self.is_cutting = False
            transaction.terminate()
        await super().answer(transaction, results)


async def test_a_connection_cut_between_change_and_answer_undoes_both(opened: Any, database: DatabaseManager) -> None:
    """When the connection is lost between the two, neither is there; the same call then happens, once."""
    ledger = Cut(database)
    service = await opened(PostgresStateStore(database, ledger), ledger)
    with pytest.raises(DatabaseUnavailableError):
        await service.put()
    assert await service.versions() == []
    assert await database.fetchval("select count(*) from idempotency") == 0
    first = await service.put()
    assert same(first, await service.put())
    assert await service.versions() == [1]


async def test_other_writes_of_a_batch_go_on(opened: Any, open_kept: OpenKept) -> None:
    """Writes without a key that share a batch with some whose key is taken are written, and one of the latter."""
    kept = await open_kept()
    service = await opened(kept.store, kept.ledger)
    requests = [
        pb.PutStateRequest(namespace="notes", key=f"n{number}", data=b"{}", idempotency_key="k" if number % 2 else "")
        for number in range(10)
    ]
    answers = await asyncio.gather(*map(service.put, requests), return_exceptions=True)
    written = [number for number, answer in enumerate(answers) if isinstance(answer, pb.PutStateResponse)]
    assert [number for number in written if number % 2 == 0] == [0, 2, 4, 6, 8]
    assert len([number for number in written if number % 2]) == 1
    assert await kept.count("state") == 6


class Untouched(PostgresIdempotencyLedger):
    """A ledger that nobody may ask."""

    async def find(self, claim: Claim) -> None:
        """Fail."""
        raise AssertionError(claim)

    async def claim(self, transaction: Connection, claims: Sequence[Claim]) -> list[bool]:
        """Fail."""
        raise AssertionError(claims)


async def test_without_a_key_nothing_is_asked(opened: Any, database: DatabaseManager) -> None:
    """A write without a key does not touch the ledger."""
    service = await opened(PostgresStateStore(database, Untouched(database)), Untouched(database))
    await service.put(pb.PutStateRequest(namespace="notes", key="n", data=b"{}"))
    assert await service.versions() == [1]


async def test_a_transaction_is_answered_again_whole(service: Service) -> None:
    """One key stands for all of its changes; with another operation, or in another order, it is another request."""
    put = pb.StateOperation(namespace="notes", key="n", put=pb.PutOperation(data=b"1"))
    other = pb.StateOperation(namespace="notes", key="m", put=pb.PutOperation(data=b"2"))
    request = pb.TransactStatesRequest(operations=[put, other], idempotency_key="both")
    first, again = [await service.call("TransactStates", request) for _ in range(2)]
    assert same(first, again)
    assert [result.state.key for result in again.results] == ["n", "m"]
    assert await service.versions() == [1]
    for operations in ([put], [other, put]):
        with pytest.raises(IdempotencyKeyReusedError):
            await service.call("TransactStates", pb.TransactStatesRequest(operations=operations, idempotency_key="both"))
