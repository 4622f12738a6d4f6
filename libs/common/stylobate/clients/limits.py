"""The caller's side of rate limits: checks that arrive together leave in one call, and outcomes know their headers.

The ratelimit service decides what holds while Redis is down. What holds while that service itself cannot be reached is
decided here, because nobody else can: ``local`` (the default) counts in this process, so that a limit that guards something
goes on guarding it; ``open`` lets everything pass; ``closed`` raises UnavailableError. Outcomes are marked degraded and counted
in ``stylobate_limits_unreachable_total``. A rule that the caller knows by name only can be counted here once the service has told
its numbers; until then it lets pass.
"""

from collections.abc import Awaitable, Sequence
from datetime import timedelta
from itertools import chain
from math import ceil
from types import TracebackType
from typing import NamedTuple, Self, cast

import grpc
import grpc.aio

from stylobate.api.ratelimit.v1.ratelimit_service_pb2 import CheckLimitsRequest, CheckLimitsResponse, GroupOutcome, Policy
from stylobate.api.ratelimit.v1.ratelimit_service_pb2_grpc import RateLimitServiceStub
from stylobate.batching import Batcher
from stylobate.bounded_dict import BoundedDict
from stylobate.clients.limit_groups import AnsweredGroup, AskedGroup, GroupKey, LevelSpec, group_of
from stylobate.clients.limit_outcome import AppliedLimit, AppliedLimits, LimitOutcome
from stylobate.clients.limit_rows import BANNED, REFUSED, decode_rows
from stylobate.clients.local_counts import Counted, LocalCounts
from stylobate.errors import StylobateError, UnavailableError
from stylobate.identity.principal import DEFAULT_TENANT
from stylobate.logs import get_logger
from stylobate.rpc.call import sampled_trace
from stylobate.rpc.caller import asking, here_of
from stylobate.telemetry import counter, trace_of
from stylobate.value_kinds import OnUnreachable

MAX_CHECKS = 256
"""Checks in one call; more would hold the Redis server too long."""
_UNREACHABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_TIMEOUT = timedelta(seconds=1)
_IN_FLIGHT = 2
"""Calls under way, to a service of this process: while one waits for Redis the next is made up. More make the batches small."""
_AT_ONCE = 128
"""Checks in one of these calls: what many ask at once is two of them, so that Redis works at one while the other is made up."""
_LEAST_BESIDE = 64
"""Checks that are worth a second call where several servers count: a batch of 16 costs them three quarters of one of 32."""
_MOST_KNOWN = 4096
_log = get_logger("app")


EDGE_IP = (LevelSpec.of_rule("edge.ip"),)
EDGE_USER = (LevelSpec.of_rule("edge.user"),)
EDGE_BOTH = (*EDGE_IP, *EDGE_USER)


_NOBODY = LimitOutcome.of(degraded=True)
"""Where nobody decided."""
_Check = tuple[GroupKey, Sequence[str], int, str]
"""The key, the subjects, the cost, and the trace of who asks: no class, since one is made for each request."""


class _Told(NamedTuple):
    """What the service said of the levels of a group."""

    digest: int
    """Of its policies."""
    head: bytes
    """Of a group, with the digest of its policies."""
    limits: tuple[AppliedLimit, ...]


class LimitsClient:
    """Asks the ratelimit service. ``async with LimitsClient(app.channel("ratelimit")) as limits``."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        on_unreachable: OnUnreachable = OnUnreachable.LOCAL,
        timeout: timedelta = _TIMEOUT,
    ) -> None:
        method = RateLimitServiceStub(channel).CheckLimits  # type: ignore[no-untyped-call,unused-ignore]  # as generated
        self._here = here_of(method)
        self._check_limits = asking(method) if self._here is None else self._here.ask
        self._on_unreachable = on_unreachable
        self._timeout_s = timeout.total_seconds()
        self._counts = LocalCounts()
        self._told: BoundedDict[GroupKey, _Told] = BoundedDict(_MOST_KNOWN)
        self._rules: dict[str, Policy] = {}
        """By name, as the service last told them."""
        # across processes a call costs both ends more than a larger batch does: 2 and 4 were no better, by streams too
        in_flight, most = (_IN_FLIGHT, _AT_ONCE) if getattr(channel, "is_local", False) else (1, MAX_CHECKS)
        self._batcher: Batcher[_Check, LimitOutcome] = Batcher(self._flush, max_size=most, in_flight=in_flight)
        self._unreachable = counter("limits_unreachable", "Rate-limit checks that nobody could decide.")
        self._is_reachable = True

    async def __aenter__(self) -> Self:
        """Begin to batch."""
        await self._batcher.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Finish the checks under way."""
        await self._batcher.__aexit__(kind, error, trace)

    def check(
        self, levels: Sequence[LevelSpec | str], subjects: Sequence[str], cost: int = 1, *, tenant: str = DEFAULT_TENANT
    ) -> Awaitable[LimitOutcome]:
        """Charge every level, or none when one of them refuses. Await it.

        :param levels: outermost first; a name alone means the rule of that name. A tuple that is kept is quickest.
        :param subjects: whom each level counts: an address, a user's id. Never a secret: they become key names.
        :param cost: how many charges.
        :raises UnavailableError: when the service cannot be reached and ``on_unreachable`` is ``closed``.
        :raises StylobateError: for a rule nobody knows, a limit that makes no sense, a cost beyond the limit.
        """
        if len(levels) != len(subjects):
            raise ValueError(f"{len(levels)} levels need as many subjects, not {len(subjects)}")
        kept = levels if isinstance(levels, tuple) else tuple(levels)
        return self._batcher.submit(((kept, tenant), subjects, cost, sampled_trace()))

    async def _flush(self, checks: list[_Check]) -> Sequence[LimitOutcome | Exception]:
        keys, subjects, costs, traces = zip(*checks, strict=True)
        places: dict[GroupKey, Sequence[int]] = {}
        if keys.count(keys[0]) == len(keys):  # mostly, and then nothing is to be sorted
            places[keys[0]] = range(len(keys))
        else:
            for place, key in enumerate(keys):
                cast("list[int]", places.setdefault(key, [])).append(place)
        told = [self._told.get(key) for key in places]
        asked = [
            AskedGroup(key, *_columns(subjects, costs, found), 0 if known is None else known.digest)
            for (key, found), known in zip(places.items(), told, strict=True)
        ]
        try:
            handler = None if self._here is None or any(traces) else self._here.handler
            response = None if handler is None else await handler(asked)
            if response is not None:
                self._batcher.least_beside = _LEAST_BESIDE if response.is_spread else 1
            else:  # there is no such way, or a call tells better what is wrong
                response = await self._ask(asked, told, trace_of(traces))
        except StylobateError as error:
            if error.code not in _UNREACHABLE:
                raise
            return self._undecided(checks, error)
        if not self._is_reachable:
            self._is_reachable = True
            _log.info("limits_reachable")
        answered: Sequence[GroupOutcome | AnsweredGroup] = response.outcomes
        outcomes: list[LimitOutcome] = []
        for (key, found), known, outcome in zip(places.items(), told, answered, strict=True):
            limits = known.limits if known is not None and not outcome.policies else self._hear(key, outcome)
            some = _outcomes(outcome, limits, len(found), degraded=response.degraded)
            if len(found) == len(checks):
                return some
            outcomes = outcomes or [_NOBODY] * len(checks)
            for place, one in zip(found, some, strict=True):
                outcomes[place] = one
        return outcomes

    async def _ask(
        self, asked: Sequence[AskedGroup], told: Sequence[_Told | None], trace: tuple[tuple[str, str], ...]
    ) -> CheckLimitsResponse:
        """Ask by a call."""
        request = CheckLimitsRequest()
        for one, known in zip(asked, told, strict=True):
            group = request.groups.add()
            # read into a message it costs a tenth of being put together
            group.MergeFromString(group_of(one.key).SerializeToString() if known is None else known.head)
            group.subjects.extend(one.subjects)
            group.costs.extend(one.costs)
        response: CheckLimitsResponse = await self._check_limits(request, timeout=self._timeout_s, metadata=trace)
        return response

    def _hear(self, key: GroupKey, outcome: GroupOutcome | AnsweredGroup) -> tuple[AppliedLimit, ...]:
        """Keep what is told of the levels of a group."""
        is_rule = [not isinstance(level, LevelSpec) or level.message.HasField("rule") for level in key[0]]
        self._rules.update((policy.name, policy) for policy, rule in zip(outcome.policies, is_rule, strict=True) if rule)
        applied = [AppliedLimit.of(policy, is_rule=rule) for policy, rule in zip(outcome.policies, is_rule, strict=True)]
        limits = AppliedLimits(applied)
        digest = outcome.policies_digest
        self._told.put(key, _Told(digest, group_of(key, digest).SerializeToString(), limits))
        return limits

    def _undecided(self, checks: list[_Check], error: StylobateError) -> Sequence[LimitOutcome | Exception]:
        self._unreachable.inc(len(checks))
        if self._is_reachable:
            self._is_reachable = False
            _log.warning("limits_unreachable", policy=self._on_unreachable.value, reason=error.reason, detail=error.detail)
        if self._on_unreachable is OnUnreachable.CLOSED:
            wait = timedelta(seconds=1)
            return [UnavailableError("Rate limits cannot be checked at the moment.", retry_after=wait) for _ in checks]
        if self._on_unreachable is OnUnreachable.LOCAL:
            return [self._count(check) for check in checks]
        return [_NOBODY] * len(checks)

    def _count(self, check: _Check) -> LimitOutcome:
        """Decide a check by this process's own counts."""
        (levels, tenant), subjects, cost, _ = check
        known = [
            found
            for level, subject in zip(levels, subjects, strict=True)
            if (found := self._counted(level, tenant, subject)) is not None
        ]
        place, wait_s = self._counts.charge(known, cost)
        if not wait_s:
            return LimitOutcome.of(degraded=True)
        wait_ms = ceil(wait_s * 1000)
        limits = (AppliedLimit.of(known[place].policy),)
        return LimitOutcome.of(REFUSED, limits, reset_ms=wait_ms, retry_ms=wait_ms, degraded=True)

    def _counted(self, level: LevelSpec | str, tenant: str, subject: str) -> Counted | None:
        """Return what is counted of a level; None for a rule that the service has not told of yet."""
        if isinstance(level, str):
            policy = self._rules.get(level)
        elif level.message.HasField("policy"):
            policy, tenant = level.message.policy, level.message.tenant or tenant
        else:
            policy = self._rules.get(level.name)
        return None if policy is None or policy.shadow else Counted(tenant, policy, subject)


def edge_limits(channel: grpc.aio.Channel, on_unreachable: OnUnreachable = OnUnreachable.OPEN) -> LimitsClient:
    """Return a client for the doors. Most of their rules keep load away and guard nothing, so all pass while nobody counts."""
    return LimitsClient(channel, on_unreachable=on_unreachable)


def _columns(subjects: Sequence[Sequence[str]], costs: Sequence[int], places: Sequence[int]) -> tuple[list[str], Sequence[int]]:
    """Return the subjects of some of the checks, one behind the other, and their costs, none where each costs 1."""
    if len(places) < len(costs):
        subjects, costs = [subjects[place] for place in places], [costs[place] for place in places]
    return list(chain.from_iterable(subjects)), () if costs.count(1) == len(costs) else costs


def _outcomes(
    outcome: GroupOutcome | AnsweredGroup, limits: tuple[AppliedLimit, ...], count: int, *, degraded: bool
) -> Sequence[LimitOutcome]:
    """Return each check's outcome."""
    numbers = decode_rows(outcome.rows) if outcome.rows or isinstance(outcome, AnsweredGroup) else _rows(outcome)
    size = len(numbers) // count
    starts = range(0, len(numbers), size)
    found = [LimitOutcome(numbers[start : start + size], limits, degraded) for start in starts]
    for check in outcome.degraded_checks:
        found[check].degraded = True
    return found


def _rows(outcome: GroupOutcome) -> list[int]:
    """Return the numbers of an answer in columns, as the release before gives it, in rows."""
    banned = outcome.banned or [False] * len(outcome.allowed)
    ended = [BANNED if banned[at] else int(allowed) for at, allowed in enumerate(outcome.allowed)]
    columns = ended, outcome.level, outcome.remaining, outcome.reset_ms, outcome.retry_after_ms, [0] * len(ended)
    width = len(outcome.standings) // max(len(ended), 1)
    numbers: list[int] = []
    for at, row in enumerate(zip(*columns, strict=True)):
        numbers += row
        numbers += outcome.standings[at * width : (at + 1) * width]
    return numbers
