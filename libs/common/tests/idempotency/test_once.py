"""A call that comes again with its key: the same answer, or a refusal that says which."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from stylobate.api.state.v1.state_service_pb2 import DeleteStateRequest, DeleteStateResponse
from stylobate.database.memory import MemoryTransaction
from stylobate.errors import InvalidInputError, StylobateError
from stylobate.idempotency import (
    Claim,
    Idempotency,
    IdempotencyInProgressError,
    IdempotencyKeyReusedError,
    Keeping,
    KeyTakenError,
)
from stylobate.idempotency.memory import MemoryIdempotencyLedger
from stylobate.identity.principal import Principal, PrincipalKind
from stylobate.testing import FakeClock

ADA, BOB = (Principal(PrincipalKind.USER, name) for name in ("ada", "bob"))


class Service:
    """Counts its changes; each answers with the count."""

    def __init__(self, secret: bytes = b"") -> None:
        self.ledger = MemoryIdempotencyLedger()
        self.clock = FakeClock()
        self.idempotency = Idempotency(self.ledger, self.clock, keeping=Keeping(secret))
        self.changes = 0
        self.before_commit: Callable[[], Any] = lambda: asyncio.sleep(0)

    async def call(self, key: str, name: str = "n", caller: Principal = ADA) -> int:
        """Delete something."""
        request = DeleteStateRequest(namespace=name, idempotency_key=key)
        to = lambda version: DeleteStateResponse(version=version)  # noqa: E731  as servicers have it
        return (await self.idempotency.once(request, caller, DeleteStateResponse, self._change, to)).version

    async def _change(self, claim: Claim | None) -> int:
        async with MemoryTransaction.begin() as transaction:
            if claim is not None and not (await self.ledger.claim(transaction, [claim]))[0]:
                raise KeyTakenError
            await self.before_commit()
            self.changes += 1
            if claim is not None:
                await self.ledger.answer(transaction, [(claim, self.changes)])
        return self.changes


@pytest.mark.parametrize("secret", [b"", b"s" * 32])
async def test_the_first_answer_comes_again(secret: bytes) -> None:
    """The same key and request: one change, one answer. Another caller's key is another; without a key each call counts."""
    service = Service(secret)
    assert [await service.call("k") for _ in range(3)] == [1, 1, 1]
    assert await service.call("k", caller=BOB) == 2
    assert [await service.call("") for _ in range(2)] == [3, 4]
    service.clock.advance(timedelta(hours=24))
    assert await service.call("k") == 5


async def test_another_request_with_the_key_is_refused() -> None:
    """A key stands for one request; with another it says so and changes nothing."""
    service = Service()
    await service.call("k")
    with pytest.raises(IdempotencyKeyReusedError):
        await service.call("k", name="other")
    assert service.changes == 1


async def test_a_second_call_meanwhile_is_told_to_come_again() -> None:
    """While the first call is under way the second is ABORTED; once that is done it gets its answer."""
    service = Service()
    go, begun = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await go.wait()

    service.before_commit = wait
    first = asyncio.create_task(service.call("k"))
    await begun.wait()
    with pytest.raises(IdempotencyInProgressError):
        await service.call("k")
    go.set()
    assert await first == await service.call("k") == 1


async def test_a_refusal_is_not_kept() -> None:
    """What failed changed nothing: the same call is tried anew."""
    service = Service()

    async def refuse() -> None:
        raise StylobateError("no")

    accepting, service.before_commit = service.before_commit, refuse
    with pytest.raises(StylobateError, match="no"):
        await service.call("k")
    service.before_commit = accepting
    assert await service.call("k") == 1


async def test_who_fails_because_the_first_was_faster_gets_its_answer() -> None:
    """A second call that looked before the first was committed, and is refused for what that changed, gets the first answer."""
    service = Service()

    async def overtaken() -> None:
        service.before_commit = lambda: asyncio.sleep(0)
        service.ledger._held.clear()  # as if it had looked before the first claimed
        await service.call("k")
        raise StylobateError("version conflict")

    service.before_commit = overtaken
    assert await service.call("k") == 1
    assert service.changes == 1


async def test_an_answer_with_a_secret_is_kept_sealed() -> None:
    """With a secret neither the request's hash nor the answer can be made out without the request and the secret."""
    plain, sealed = Service(), Service(b"s" * 32)
    for service in (plain, sealed):
        service.changes = 1_000_000
        await service.call("k")
    ((open_row, _),) = plain.ledger._rows.values()
    ((row, _),) = sealed.ledger._rows.values()
    assert open_row.answer == DeleteStateResponse(version=1_000_001).SerializeToString()
    assert open_row.answer not in row.answer
    assert row.request != open_row.request


async def test_a_secret_can_be_exchanged() -> None:
    """What was kept with the one before, or with none at all, is known until that is forgotten."""
    service = Service()
    texts = ["", "a" * 32, "b" * 32]
    for number, secret in enumerate(texts):
        service.idempotency.keeping = Keeping.of(secret, *texts[:number])
        assert await service.call(f"k{number}") == number + 1
    assert [await service.call(f"k{number}") for number in range(3)] == [1, 2, 3]
    with pytest.raises(IdempotencyKeyReusedError):
        await service.call("k1", name="other")
    service.idempotency.keeping = Keeping.of(texts[-1])
    with pytest.raises(IdempotencyKeyReusedError):
        await service.call("k1")
    assert await service.call("k0") == 1


@pytest.mark.parametrize("key", ["k" * 256, "é", "a\0b", "a\nb"])
async def test_a_key_that_cannot_be_kept_is_refused(key: str) -> None:
    """A key is at most 255 printable characters of ASCII."""
    with pytest.raises(InvalidInputError) as caught:
        await Service().call(key)
    assert [violation.pointer for violation in caught.value.violations] == ["/idempotency_key"]
