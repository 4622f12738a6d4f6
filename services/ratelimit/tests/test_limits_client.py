"""The service through its gRPC face, as callers reach it: LimitsClient over a local channel with the whole pipeline."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import grpc
import pytest
import pytest_asyncio
from stylobate.api.ratelimit.v1.ratelimit_service_pb2 import CheckLimitsRequest, CheckLimitsResponse
from stylobate.api.ratelimit.v1.ratelimit_service_pb2_grpc import RateLimitServiceStub, add_RateLimitServiceServicer_to_server
from stylobate.clients.limit_groups import LevelSpec
from stylobate.clients.limit_outcome import AppliedLimit, AppliedLimits, LimitOutcome, carried_limit
from stylobate.clients.limit_rows import REFUSED
from stylobate.clients.limits import LimitsClient
from stylobate.clients.local_counts import Counted, LocalCounts
from stylobate.errors import StylobateError, TokenInvalidError, UnavailableError
from stylobate.http.asgi import limit_headers
from stylobate.identity.principal import Principal
from stylobate.identity.service_identity import ServiceIdentity
from stylobate.identity.service_keys import generate_service_keys
from stylobate.rpc import (
    Call,
    CallerChannel,
    LocalChannel,
    LocalServer,
    Servicers,
    call,
    current_call,
    standard_interceptors,
)
from stylobate.rpc.interceptors import RpcMetrics
from stylobate.services import key_holders
from stylobate.testing import FakeClock
from stylobate.testing.until import until
from stylobate.value_kinds import OnUnreachable
from stylobate_ratelimit.model import Limit
from stylobate_ratelimit.rate_limiter_manager import RateLimiterManager
from stylobate_ratelimit.servicer import RateLimitServicer
from stylobate_ratelimit.stand_in import StandIn
from stylobate_ratelimit.store.memory import MemoryLimitStore

from .limits import gcra

ORDERS = LevelSpec.of_policy("shop.place_order", 2, timedelta(minutes=1))
IP = LevelSpec.of_rule("edge.ip")


class NoUsers:
    """Nobody's bearer token holds."""

    def cached(self, token: str) -> Principal | None:
        """Know nobody."""
        return None

    async def verify(self, token: str) -> Principal:
        """Refuse."""
        raise TokenInvalidError


class RecordingServicer(RateLimitServicer):
    """Keeps what it was asked, and in which call; nobody in this process asks without one (see test_limits_here.py)."""

    HERE: ClassVar[Mapping[str, str]] = {}

    def __init__(self, manager: RateLimiterManager, rules: dict[str, Limit]) -> None:
        super().__init__(manager, None, None, None)
        self.rules = rules
        self.forget = self._levels.forget
        self.told: list[int] = []
        """How many policies each answer told."""
        self.requests: list[CheckLimitsRequest] = []
        self.calls: list[Call] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.is_older = False
        """Whether this is the release before."""
        self.degraded_checks: Sequence[int] = ()
        """Of the first group, the checks that it says to be so."""

    async def CheckLimits(self, request, context) -> CheckLimitsResponse:  # noqa: N802  as generated
        """Note the request and serve it, when this may answer at all."""
        await self.may_answer.wait()
        self.requests.append(request)
        for group in request.groups if self.is_older else ():
            group.reads_rows = False
        self.calls.append(call())
        answer = await super().CheckLimits(request, context)
        answer.outcomes[0].degraded_checks.extend(self.degraded_checks)
        self.told.append(sum(len(outcome.policies) for outcome in answer.outcomes))
        return answer


class Service:
    """The service in this process."""

    kind: ClassVar = RecordingServicer
    store_kind: ClassVar = MemoryLimitStore

    def __init__(self, folder: Path) -> None:
        generate_service_keys(folder, key_holders())
        self.identity = {name: ServiceIdentity.load(name, folder / f"{name}.pem", folder) for name in ("gateway", "ratelimit")}
        rules = {"edge.ip": gcra(3, name="edge.ip")}
        self.store = store = self.store_kind(FakeClock().seconds)
        self.servicer = self.kind(RateLimiterManager(store, StandIn(store), rules), rules)
        servicers = Servicers(standard_interceptors(NoUsers(), self.identity["ratelimit"], metrics=RpcMetrics()))
        servicers.register(add_RateLimitServiceServicer_to_server, self.servicer, RateLimitServicer.ACCESS)
        self.server = LocalServer(servicers)
        self.wire = LocalChannel(self.server)

    async def fall_silent(self, how: str) -> None:
        """Answer no more: refuse calls, or take them and say nothing."""
        if how == "stopped":
            await self.server.stop()
        else:
            self.servicer.may_answer.clear()

    async def speak_again(self) -> None:
        """Answer again."""
        self.servicer.may_answer.set()
        await self.server.start()

    @asynccontextmanager
    async def client(self, **options: object) -> AsyncIterator[LimitsClient]:
        """Give the gateway's client."""
        async with LimitsClient(CallerChannel(self.wire, self.identity["gateway"].to("ratelimit")), **options) as client:
            yield client


@pytest_asyncio.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """Give the running service."""
    made = Service(tmp_path)
    await made.server.start()
    yield made
    await made.server.stop()


@pytest_asyncio.fixture
async def limits(service: Service) -> AsyncIterator[LimitsClient]:
    """Give a client of it."""
    async with service.client() as client:
        yield client


async def test_an_outcome_has_its_headers(limits):
    """RateLimit and RateLimit-Policy are structured fields of the draft: quota and window, remaining and reset."""
    outcome = await limits.check((ORDERS,), ("anna",))
    assert outcome.allowed
    assert limit_headers(outcome.texts()) == [
        (b"ratelimit-policy", b'"shop.place_order";q=2;w=60'),
        (b"ratelimit", b'"shop.place_order";r=1;t=60'),
    ]
    assert outcome.retry_after is None


async def test_only_those_are_degraded_of_which_a_count_could_not_be_asked(service, limits):
    """Others of the same batch keep their headers."""
    service.servicer.degraded_checks = [1]
    outcomes = await asyncio.gather(*(limits.check((ORDERS,), (name,)) for name in ("anna", "ben", "cara")))
    assert [(outcome.degraded, len(outcome.texts())) for outcome in outcomes] == [(False, 1), (True, 0), (False, 1)]


async def test_a_refused_check_has_its_error(limits):
    """429 by its code, with when to come back and the numbers of the limit."""
    await limits.check((ORDERS,), ("anna",), 2)
    outcome = await limits.check((ORDERS,), ("anna",))
    assert not outcome.allowed
    error = outcome.error()
    assert (error.reason, error.code, error.http_status) == ("RATE_LIMITED", grpc.StatusCode.RESOURCE_EXHAUSTED, 429)
    assert error.retry_after == timedelta(seconds=60)
    assert error.metadata == {
        "policy": "shop.place_order",
        "quota": "2",
        "window": "60",
        "remaining": "0",
        "reset": "60",
    }


def test_a_limit_that_cannot_be_counted_is_not_said_to_be_reached():
    """It has no numbers then, so none are told; what a process counts by itself has."""
    limit = AppliedLimit("site.closed", 100, 60)
    error = LimitOutcome.of(REFUSED, [limit], retry_ms=1000, degraded=True).error()
    assert (error.metadata, error.retry_after) == ({"policy": "site.closed"}, timedelta(seconds=1))
    assert "cannot be counted" in error.detail
    assert carried_limit(error) == []


async def test_of_several_levels_each_limit_brought_is_told_and_the_tightest_rule(service, limits):
    """The innermost first. A refusal tells of the level that refused by itself, so the others stand beside it as they are."""
    service.servicer.rules["edge.user"] = gcra(2, name="edge.user")
    three = (IP, LevelSpec.of_rule("edge.user"), ORDERS)
    outcome = await limits.check(three, ("1.2.3.4", "anna", "anna"))
    assert limit_headers(outcome.texts()) == [
        (b"ratelimit-policy", b'"shop.place_order";q=2;w=60, "edge.user";q=2;w=60'),
        (b"ratelimit", b'"shop.place_order";r=1;t=60, "edge.user";r=1;t=30'),
    ]
    assert outcome.lines() == _lines(outcome)
    await limits.check((ORDERS,), ("anna",))
    refused = await limits.check(three, ("1.2.3.4", "anna", "anna"))
    assert refused.lines() == _lines(refused)
    assert refused.lines() != outcome.lines()
    assert limit_headers([*carried_limit(refused.error()), *refused.texts()])[1] == (
        b"ratelimit", b'"shop.place_order";r=0;t=60, "edge.user";r=1;t=30',
    )  # fmt: skip


def _lines(outcome: LimitOutcome) -> bytes:
    """Return its header fields as they are sent."""
    return b"".join(b"%b: %b\r\n" % field for field in limit_headers(outcome.texts()))


def test_lines_of_limits_are_the_fields_whatever_is_told_of():
    """Those that are counted only are left out, in either form; a name may hold what stands for a number elsewhere."""
    shadow = AppliedLimit("site.%d", 9, 60, is_rule=True, is_shadow=True)
    rules = [AppliedLimit("site.%s%%", 9, 60, is_rule=True), AppliedLimit("edge.user", 5, 1, is_rule=True)]
    limits = AppliedLimits([*rules, AppliedLimit("a.b", 3, 7), shadow, AppliedLimit("a.c", 4, 7)])
    for left in ([4, 100, 3, 1, 2, 1000, 0, 0, 1, 0], [4, 2001, 5, 1, 2, 1000, 0, 0, 1, 0]):
        for allowed, level in ((True, 0), (False, 0), (False, 1), (False, 4)):
            outcome = LimitOutcome.of(int(allowed), limits, level, standings=left)
            assert outcome.lines() == _lines(outcome)
    assert limits.forms.keys() == {(4, 2, 1), (4, 2, 0), (2, 1), (2, 0)}
    tight = LimitOutcome.of(1, limits, 2, remaining=1, reset_ms=5)
    for other in (tight, LimitOutcome.of(), LimitOutcome.of(1, limits, degraded=True)):
        assert other.lines() == _lines(other)


async def test_numbers_are_told_once_and_again_when_they_change(service, limits):
    """An answer repeats no policies that its caller knows; a rule that has other numbers by now is told anew."""
    told = service.servicer.told
    assert [(await limits.check((IP,), ("10.0.0.1",))).quota for _ in range(2)] == [3, 3]
    assert told == [1, 0]
    service.servicer.rules["edge.ip"] = gcra(5, name="edge.ip")
    service.servicer.forget()
    assert [(await limits.check((IP,), ("10.0.0.1",))).quota for _ in range(2)] == [5, 5]
    assert told == [1, 0, 1, 0]


async def test_a_level_may_count_in_a_tenant_of_its_own(limits):
    """What a user may do is counted within a tenant, where a user comes from is not: one check does both."""
    acme = LevelSpec.of_policy("shop.place_order", 2, timedelta(minutes=1), tenant="acme")
    outcomes = [await limits.check((IP, level), ("10.0.0.1", "anna")) for level in (acme, acme, ORDERS, ORDERS)]
    assert [(outcome.allowed, outcome.policy) for outcome in outcomes] == [
        (True, "shop.place_order"), (True, "shop.place_order"), (True, "edge.ip"), (False, "edge.ip"),
    ]  # fmt: skip


async def test_a_rule_by_name_brings_its_numbers(limits):
    """A caller that knows the rule's name only can still write headers, of the tightest level."""
    outcome = await limits.check((IP, ORDERS), ("1.2.3.4", "anna"))
    assert (outcome.policy, outcome.quota, outcome.remaining) == ("shop.place_order", 2, 1)
    outcome = await limits.check(("edge.ip",), ("1.2.3.4",))
    assert (outcome.policy, outcome.quota, outcome.window, outcome.remaining) == ("edge.ip", 3, 60, 1)


async def test_checks_that_arrive_together_leave_together(limits, service):
    """Forty checks of two kinds are one call of two groups, and each gets its own outcome."""
    both = (IP, ORDERS)
    outcomes = await asyncio.gather(
        *(limits.check((ORDERS,), (f"user{number // 4}",)) for number in range(20)),
        *(limits.check(both, (f"10.0.0.{number}", f"other{number}")) for number in range(20)),
    )
    (request,) = service.servicer.requests
    assert [len(group.subjects) for group in request.groups] == [20, 40]
    assert [outcome.allowed for outcome in outcomes] == [True, True, False, False] * 5 + [True] * 20


async def test_the_release_before_is_understood_and_understands(limits, service):
    """A service that answers in columns is read as one that answers in rows, and answers in columns to who asks for no rows."""
    both = (IP, ORDERS)

    async def ask(address: str) -> list[tuple[object, ...]]:
        found = await asyncio.gather(*(limits.check(both, (address, f"{address} {number}")) for number in range(4)))
        alone = await limits.check((ORDERS,), (f"{address} 0",))
        return [(one.allowed, one.level, one.remaining, one.reset_ms, one.retry_ms, *one.standings) for one in (*found, alone)]

    now = await ask("10.0.0.1")
    service.servicer.is_older = True
    assert await ask("10.0.0.2") == now
    assert [one[0] for one in now] == [True, True, True, False, True]


async def test_tenants_are_apart(limits, service):
    """The tenant stands in the message: checks of two tenants leave in one call and count apart."""
    outcomes = await asyncio.gather(
        *(limits.check((ORDERS,), ("anna",), 2, tenant=tenant) for tenant in ("default", "acme", "acme"))
    )
    assert [outcome.allowed for outcome in outcomes] == [True, True, False]
    assert len(service.servicer.requests) == 1


async def test_a_batch_goes_in_the_services_own_name(limits, service):
    """The call of whoever came first lends the batch neither its token, nor its deadline, nor its request id."""
    loop = asyncio.get_running_loop()
    mine = Call(request_id="mine", authorization="Bearer not-valid-any-more", deadline=loop.time() + 0.0001)
    token = current_call.set(mine)
    try:
        outcome = await limits.check((ORDERS,), ("anna",))
    finally:
        current_call.reset(token)
    assert outcome.allowed
    (served,) = service.servicer.calls
    assert served.principal.id == "service:gateway"
    assert (served.authorization, served.request_id != "mine") == ("", True)


async def test_one_bad_check_does_not_harm_its_neighbours(limits):
    """A rule nobody knows, and a cost that could never pass, are told to their caller alone."""
    good, unknown, costly = await asyncio.gather(
        limits.check((ORDERS,), ("anna",)),
        limits.check(("edge.nobody",), ("anna",)),
        limits.check((ORDERS,), ("anna",), 3),
        return_exceptions=True,
    )
    assert good.allowed
    assert isinstance(unknown, StylobateError)
    assert unknown.reason == "LIMIT_RULE_UNKNOWN"
    assert isinstance(costly, StylobateError)
    assert costly.reason == "LIMIT_INVALID"


async def test_levels_and_subjects_must_match(limits):
    """A subject too few is a defect of the caller and is told at once."""
    with pytest.raises(ValueError, match="2 levels need as many subjects, not 1"):
        await limits.check((IP, ORDERS), ("anna",))


@pytest.mark.parametrize("silence", ["stopped", "frozen"])
async def test_without_the_service_a_limit_still_guards(service, silence):
    """`local`: unreachable or out of time, each process counts by itself what it knows the numbers of, by tenant and subject."""
    async with service.client(timeout=timedelta(milliseconds=200)) as limits:
        await limits.check(("edge.ip",), ("10.0.0.1",))  # tells the numbers of the rule
        await service.fall_silent(silence)
        burst = [await limits.check((ORDERS,), ("anna",)) for _ in range(3)]
        assert [(outcome.allowed, outcome.degraded, limit_headers(outcome.texts())) for outcome in burst] == [
            (True, True, []),
            (True, True, []),
            (False, True, []),
        ]
        error = burst[2].error()
        assert (error.reason, error.metadata["policy"], error.metadata["quota"]) == ("RATE_LIMITED", "shop.place_order", "2")
        assert timedelta(0) < error.retry_after <= timedelta(seconds=30)
        assert (await limits.check((ORDERS,), ("ben",))).allowed
        assert (await limits.check((ORDERS,), ("anna",), tenant="acme")).allowed
        both = [await limits.check((IP, ORDERS), ("10.0.0.2", name)) for name in ("a", "b", "c", "d")]
        assert [outcome.allowed for outcome in both] == [True, True, True, False]
        assert both[3].policy == "edge.ip"
        await service.speak_again()
        assert not (await eventually_counted(limits)).degraded


async def eventually_counted(limits: LimitsClient) -> LimitOutcome:
    """Check until the service decides again."""
    return await until(lambda: limits.check((ORDERS,), ("cleo",), 0), lambda outcome: not outcome.degraded, within_s=60)


async def test_a_rule_that_nobody_told_of_lets_pass(service):
    """`local` cannot count a rule whose numbers were never heard: it passes, marked degraded."""
    async with service.client(timeout=timedelta(milliseconds=200)) as limits:
        await service.server.stop()
        outcomes = [await limits.check(("edge.ip",), ("10.0.0.1",)) for _ in range(5)]
    assert {(outcome.allowed, outcome.degraded) for outcome in outcomes} == {(True, True)}


async def test_made_up_subjects_cannot_fill_the_memory():
    """Past the maximum those charged longest ago are forgotten."""
    counts = LocalCounts(lambda: 0.0, most=1_000)
    for number in range(5_000):
        counts.charge([Counted("default", ORDERS.message.policy, str(number))], 1)
    assert len(counts) <= 1_000


async def test_without_the_service_checks_of_the_edge_pass_degraded(service):
    """`open`: nobody is refused because the limiter is away, and no header promises anything; it comes back by itself."""
    async with service.client(timeout=timedelta(milliseconds=200), on_unreachable=OnUnreachable.OPEN) as limits:
        await service.server.stop()
        outcomes = await asyncio.gather(*(limits.check((ORDERS,), ("anna",)) for _ in range(5)))
        assert [(outcome.allowed, outcome.degraded, limit_headers(outcome.texts())) for outcome in outcomes] == [
            (True, True, [])
        ] * 5
        await service.server.start()
        outcome = await limits.check((ORDERS,), ("anna",))
        assert (outcome.degraded, outcome.remaining) == (False, 1)


async def test_without_the_service_closed_refuses(service):
    """`closed`: 503 with Retry-After, not 429: nobody called too often."""
    async with service.client(timeout=timedelta(milliseconds=200), on_unreachable=OnUnreachable.CLOSED) as limits:
        await service.server.stop()
        results = await asyncio.gather(*(limits.check((ORDERS,), ("anna",)) for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [UnavailableError] * 5
    assert results[0].retry_after == timedelta(seconds=1)


async def test_only_services_may_check_limits(service):
    """Without a service's token nobody reaches the counters."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await RateLimitServiceStub(service.wire).CheckLimits(CheckLimitsRequest())
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
