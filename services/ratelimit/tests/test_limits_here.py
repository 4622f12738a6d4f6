"""Checks of who is in the ratelimit service's process: what became of them is the same, without a call for each batch."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest_asyncio
from stylobate.clients.limit_groups import LevelSpec
from stylobate.clients.limits import LimitsClient
from stylobate.errors import StylobateError
from stylobate.rpc import Call, current_call
from stylobate.testing.until import until
from stylobate_ratelimit.group_outcome import GroupOutcome
from stylobate_ratelimit.model import CheckGroup
from stylobate_ratelimit.store.memory import MemoryLimitStore

from .test_limits_client import RecordingServicer, Service

ORDERS = LevelSpec.of_policy("shop.place_order", 2, timedelta(minutes=1))
IP = LevelSpec.of_rule("edge.ip")
BOTH = (IP, ORDERS)
SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class OpenServicer(RecordingServicer):
    """Serves calls, and who is here."""

    HERE: ClassVar[Mapping[str, str]] = {"CheckLimits": "check_here"}


class OpenService(Service):
    """The service, with the way for who is here."""

    kind: ClassVar = OpenServicer

    @asynccontextmanager
    async def client(self, **options: object) -> AsyncIterator[LimitsClient]:
        """Give a client that was answered before."""
        async with super().client(**options) as client:
            await client.check((ORDERS,), ("nobody",), 0)
            self.servicer.requests.clear()
            yield client


@pytest_asyncio.fixture
async def service(tmp_path: Path) -> AsyncIterator[OpenService]:
    """Give the running service."""
    made = OpenService(tmp_path)
    await made.server.start()
    yield made
    await made.server.stop()


async def _told(limits: LimitsClient) -> list[tuple[object, ...]]:
    """Return all that is told of checks of several kinds that leave together, of two batches."""
    found = []
    for _ in range(2):
        together = await asyncio.gather(
            *(limits.check(BOTH, ("10.0.0.1", f"user {number}")) for number in range(2)),
            limits.check((ORDERS,), ("anna",), 2),
            limits.check((ORDERS,), ("anna",), 1),
            limits.check((ORDERS,), ("anna",), tenant="acme"),
            limits.check(("edge.ip",), ("10.0.0.2",)),
            limits.check(("edge.nobody",), ("anna",)),
            limits.check((ORDERS,), ("anna",), 3),
            limits.check((ORDERS,), ("",)),
            limits.check((ORDERS,), ("an\0na",)),
            return_exceptions=True,
        )
        for one in together:
            if isinstance(one, StylobateError):
                found.append((one.reason, one.code, one.domain, one.detail))
            else:
                found.append((one.allowed, one.degraded, one.remaining, one.retry_ms, *one.standings, one.texts()))
    return found


async def test_it_is_told_the_same(tmp_path, service):
    """Numbers, texts and errors are those of a call; a batch with a bad check in it is decided check by check, as there."""
    (tmp_path / "calls").mkdir()
    other = Service(tmp_path / "calls")
    await other.server.start()
    async with other.client() as by_calls, service.client() as here:
        assert await _told(here) == await _told(by_calls)
    await other.server.stop()


async def test_only_who_was_answered_may_and_no_longer_than_its_token_is_sent(service):
    """The first batch is a call, which proves the token; with another token there is another. A stopped server is not asked."""
    async with service.client(timeout=timedelta(milliseconds=200)) as limits:
        assert (await limits.check((ORDERS,), ("anna",))).allowed
        assert service.servicer.requests == []
        service.identity["gateway"]._signed.clear()  # as at half of its life
        assert (await limits.check((ORDERS,), ("anna",))).allowed
        assert len(service.servicer.requests) == 1
        assert not (await limits.check((ORDERS,), ("anna",))).allowed
        assert len(service.servicer.requests) == 1
        await service.server.stop()
        assert (await limits.check((ORDERS,), ("anna",))).degraded
        await service.server.start()
        assert not (await limits.check((ORDERS,), ("anna",))).degraded


class _SpreadStore(MemoryLimitStore):
    """Counts here as if several servers did, and notes how many checks come together."""

    is_spread = True

    def __init__(self, seconds: Callable[[], float]) -> None:
        super().__init__(seconds)
        self.sizes: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def charge(self, groups: Sequence[CheckGroup]) -> list[GroupOutcome]:
        self.sizes.append(sum(map(len, groups)))
        await self.gate.wait()
        return await super().charge(groups)


class _SpreadService(OpenService):
    store_kind: ClassVar = _SpreadStore


async def test_where_several_servers_count_a_few_checks_wait_for_the_batch_under_way(tmp_path):
    """A batch costs each of the servers something; many leave beside it all the same."""
    spread = _SpreadService(tmp_path)
    await spread.server.start()
    store = spread.store
    async with spread.client() as limits:
        await limits.check((ORDERS,), ("anna",))
        store.sizes.clear()
        store.gate.clear()
        asked = [asyncio.ensure_future(limits.check((ORDERS,), ("first",)))]
        await until(lambda: store.sizes == [1])
        asked += [asyncio.ensure_future(limits.check((ORDERS,), (f"who{number}",))) for number in range(63)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert store.sizes == [1]
        asked.append(asyncio.ensure_future(limits.check((ORDERS,), ("last",))))
        await until(lambda: store.sizes == [1, 64])
        store.gate.set()
        assert all(outcome.allowed for outcome in await asyncio.gather(*asked))
    await spread.server.stop()


async def test_a_traced_check_is_a_call(service):
    """The trace of who asks reaches the service."""
    async with service.client() as limits:
        token = current_call.set(Call(traceparent=SAMPLED))
        try:
            await limits.check((ORDERS,), ("anna",))
        finally:
            current_call.reset(token)
        assert [call.traceparent[:35] for call in service.servicer.calls[-1:]] == [SAMPLED[:35]]
        assert len(service.servicer.requests) == 1


async def test_a_limit_is_exact(service):
    """Of many that come at once as many pass as may."""
    async with service.client() as limits:
        outcomes = await asyncio.gather(*(limits.check((ORDERS,), ("anna",)) for _ in range(250)))
    assert sum(outcome.allowed for outcome in outcomes) == 2
    assert service.servicer.requests == []


async def test_only_those_are_degraded_of_which_a_count_could_not_be_asked(service):
    """As where a call tells it."""
    store = service.servicer._manager._store
    charge = store.charge

    async def partly(groups: Sequence[CheckGroup]) -> Sequence[GroupOutcome]:
        found = await charge(groups)
        found[0].degraded = [1]
        return found

    async with service.client() as limits:
        store.charge = partly
        outcomes = await asyncio.gather(*(limits.check((ORDERS,), (name,)) for name in ("anna", "ben", "cara")))
    assert [(outcome.degraded, len(outcome.texts())) for outcome in outcomes] == [(False, 1), (True, 0), (False, 1)]
    assert service.servicer.requests == []
