"""The caller's side of rate limits: checks that arrive together leave in one call, and outcomes know their headers.

The ratelimit service decides what holds while Redis is down. What holds while that service itself cannot be reached is
decided here, because nobody else can: ``local`` (the default) counts in this process, so that a limit that guards something
goes on guarding it; ``open`` lets everything pass; ``closed`` raises UnavailableError. Outcomes are marked degraded and counted
in ``stylobate_limits_unreachable_total``. A rule that the caller knows by name only can be counted here once the service has told
its numbers; until then it lets pass.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

import grpc
import grpc.aio

from stylobate.api.ratelimit.v1.ratelimit_service_pb2 import (
    ALGORITHM_GCRA,
    ALGORITHM_WINDOW,
    CheckLimitsRequest,
    Group,
    GroupOutcome,
    Level,
    Policy,
)
from stylobate.api.ratelimit.v1.ratelimit_service_pb2_grpc import RateLimitServiceStub
from stylobate.batching import Batcher
from stylobate.clients.local_counts import LocalCounts
from stylobate.errors import StylobateError, UnavailableError
from stylobate.http.asgi import LimitText, limit_text
from stylobate.identity.client_address import limit_key
from stylobate.identity.principal import DEFAULT_TENANT
from stylobate.logs import get_logger
from stylobate.rpc.call import sampled_trace
from stylobate.telemetry import counter, trace_of
from stylobate.value_kinds import OnUnreachable

LIMIT = "limit."
"""What the keys begin with, in the metadata of an error, that say how a limit stands."""
_NUMBERS = ("policy", "quota", "window", "remaining", "reset")
MAX_CHECKS = 256
"""Checks in one call; more would hold the Redis server too long."""
_ALGORITHMS = {"window": ALGORITHM_WINDOW, "gcra": ALGORITHM_GCRA}
_UNREACHABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_TIMEOUT = timedelta(seconds=1)
_log = get_logger("app")


class RateLimitedError(StylobateError):
    """A limit is reached; nothing was charged. Metadata: policy, quota, window, remaining, reset (seconds)."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "RATE_LIMITED"
    default_detail = "Too many requests."
    cure = "Wait for the time in Retry-After; the headers RateLimit and RateLimit-Policy say how the limit stands."


@dataclass(frozen=True, slots=True, eq=False)
class LevelSpec:
    """One level of a check. Make it once and keep it: checks are grouped by the identity of their levels."""

    name: str
    message: Level

    @classmethod
    def of_rule(cls, name: str) -> Self:
        """Return a limit that the ratelimit service knows by name: ``edge.ip``, ``edge.user``."""
        return cls(name, Level(rule=name))

    @classmethod
    def of_policy(cls, name: str, limit: int, period: timedelta, *, algorithm: str = "window", burst: int = 0) -> Self:
        """Return a limit that the caller brings; the name is its key and stands in headers: ``shop.place_order``.

        :param algorithm: ``window`` (exact, at most 1,000 a period) or ``gcra`` (``burst`` at once, 0 meaning ``limit``).
        """
        policy = Policy(name=name, algorithm=_ALGORITHMS[algorithm], limit=limit, burst=burst)
        policy.period.FromTimedelta(period)
        return cls(name, Level(policy=policy))


EDGE_IP = (LevelSpec.of_rule("edge.ip"),)
EDGE_USER = (LevelSpec.of_rule("edge.user"),)
EDGE_BOTH = (*EDGE_IP, *EDGE_USER)


@dataclass(slots=True, kw_only=True, eq=False)
class LimitOutcome:
    """How a check went. The numbers are those of the level that refused it, or of the tightest one."""

    allowed: bool
    policy: str = ""
    """The level's name."""
    quota: int = 0
    """Charges per window."""
    window: int = 0
    """Seconds, rounded up."""
    remaining: int = 0
    """Charges left now."""
    reset: int = 0
    """Seconds until the level is full again, rounded up."""
    retry_after: timedelta | None = None
    """For a refused check: when a retry can pass."""
    degraded: bool = False
    """Whether Redis or the ratelimit service could not be asked; the numbers then promise nothing."""

    def texts(self) -> list[LimitText]:
        """Return its entry in the header fields, see :mod:`stylobate.http.asgi`; none when degraded."""
        if self.degraded or not self.policy:
            return []
        return [limit_text(self.policy, self.quota, self.window, self.remaining, self.reset)]

    def metadata(self, prefix: str = "") -> dict[str, str]:
        """Return the numbers as metadata of an error; see :func:`carried_limit`."""
        return {f"{prefix}{name}": str(getattr(self, name)) for name in _NUMBERS}

    def error(self) -> RateLimitedError:
        """Return the error for a refused check."""
        return RateLimitedError(
            f"The limit {self.policy} of {self.quota} per {self.window} s is reached.",
            metadata=self.metadata(),
            retry_after=self.retry_after,
        )


def carried_limit(error: StylobateError) -> list[LimitText]:
    """Return how the limit stands that an error speaks of; none where it speaks of none.

    Of RATE_LIMITED it is the metadata. Of others, which the call was charged for all the same, it is taken out of the metadata.
    """
    carried = {key.removeprefix(LIMIT): value for key, value in error.metadata.items() if key.startswith(LIMIT)}
    error.metadata = {key: value for key, value in error.metadata.items() if not key.startswith(LIMIT)}
    if error.reason == RateLimitedError.reason:
        carried = error.metadata
    return [limit_text(*(carried[name] for name in _NUMBERS))] if carried.keys() >= set(_NUMBERS) else []


_Levels = tuple[LevelSpec | str, ...]
_Check = tuple[_Levels, str, Sequence[str], int, str]


class LimitsClient:
    """Asks the ratelimit service. ``async with LimitsClient(app.channel("ratelimit")) as limits``."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        on_unreachable: OnUnreachable = OnUnreachable.LOCAL,
        timeout: timedelta = _TIMEOUT,
    ) -> None:
        self._stub = RateLimitServiceStub(channel)  # type: ignore[no-untyped-call,unused-ignore]  # as generated
        self._on_unreachable = on_unreachable
        self._timeout_s = timeout.total_seconds()
        self._counts = LocalCounts()
        self._told: dict[str, Policy] = {}
        """The numbers of rules, as the service last told them."""
        # one call under way: two make smaller batches, and across processes each call costs both ends a millisecond of CPU
        self._batcher: Batcher[_Check, LimitOutcome] = Batcher(self._flush, max_size=MAX_CHECKS, in_flight=1)
        self._unreachable = counter("limits_unreachable", "Rate-limit checks that nobody could decide.")
        self._is_reachable = True

    async def __aenter__(self) -> Self:
        """Begin to batch."""
        await self._batcher.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Finish the checks under way."""
        await self._batcher.__aexit__(kind, error, trace)

    async def check(
        self, levels: Sequence[LevelSpec | str], subjects: Sequence[str], cost: int = 1, *, tenant: str = DEFAULT_TENANT
    ) -> LimitOutcome:
        """Charge every level, or none when one of them refuses.

        :param levels: outermost first; a name alone means the rule of that name. A tuple that is kept is quickest.
        :param subjects: whom each level counts: an address, a user's id. Never a secret: they become key names.
        :param cost: how many charges.
        :raises UnavailableError: when the service cannot be reached and ``on_unreachable`` is ``closed``.
        :raises StylobateError: for a rule nobody knows, a limit that makes no sense, a cost beyond the limit.
        """
        if len(levels) != len(subjects):
            raise ValueError(f"{len(levels)} levels need as many subjects, not {len(subjects)}")
        kept = levels if isinstance(levels, tuple) else tuple(levels)
        return await self._batcher.submit((kept, tenant, subjects, cost, sampled_trace()))

    async def charge(self, address: str, user: str = "") -> list[LimitText]:
        """Charge where a call comes from, and the user whose token was verified, by the rules of the edge; empty: not that one.

        Returns how the limits stand.
        :raises RateLimitedError: one calls too often; neither is charged then.
        """
        levels = EDGE_BOTH if address and user else EDGE_USER if user else EDGE_IP
        outcome = await self.check(levels, tuple(filter(None, (limit_key(address), user))))
        if not outcome.allowed:
            raise outcome.error()
        return outcome.texts()

    async def _flush(self, checks: list[_Check]) -> Sequence[LimitOutcome | Exception]:
        groups: dict[tuple[_Levels, str], list[int]] = {}
        for index, (levels, tenant, *_) in enumerate(checks):
            groups.setdefault((levels, tenant), []).append(index)
        request = CheckLimitsRequest(groups=[_group(key, [checks[index] for index in found]) for key, found in groups.items()])
        try:
            trace = trace_of(check[4] for check in checks)
            response = await self._stub.CheckLimits(request, timeout=self._timeout_s, metadata=trace)
        except StylobateError as error:
            if error.code not in _UNREACHABLE:
                raise
            return self._undecided(checks, error)
        if not self._is_reachable:
            self._is_reachable = True
            _log.info("limits_reachable")
        outcomes: list[LimitOutcome | None] = [None] * len(checks)
        for found, outcome in zip(groups.values(), response.outcomes, strict=True):
            self._told.update((policy.name, policy) for policy in outcome.policies)
            _spread(outcome, found, outcomes, degraded=response.degraded)
        return [outcome for outcome in outcomes if outcome is not None]

    def _undecided(self, checks: list[_Check], error: StylobateError) -> Sequence[LimitOutcome | Exception]:
        self._unreachable.inc(len(checks))
        if self._is_reachable:
            self._is_reachable = False
            _log.warning("limits_unreachable", policy=self._on_unreachable.value, reason=error.reason, detail=error.detail)
        if self._on_unreachable is OnUnreachable.CLOSED:
            wait = timedelta(seconds=1)
            return [UnavailableError("Rate limits cannot be checked at the moment.", retry_after=wait) for _ in checks]
        if self._on_unreachable is OnUnreachable.LOCAL:
            return [self._count(*check[:4]) for check in checks]
        return [LimitOutcome(allowed=True, degraded=True) for _ in checks]

    def _count(self, levels: _Levels, tenant: str, subjects: Sequence[str], cost: int) -> LimitOutcome:
        """Decide a check by this process's own counts."""
        known = [
            (policy, subject)
            for level, subject in zip(levels, subjects, strict=True)
            if (policy := self._policy_of(level)) is not None
        ]
        place, wait_s = self._counts.charge(tenant, [policy for policy, _ in known], [subject for _, subject in known], cost)
        if not wait_s:
            return LimitOutcome(allowed=True, degraded=True)
        policy = known[place][0]
        return LimitOutcome(
            allowed=False,
            policy=policy.name,
            quota=policy.limit,
            window=_seconds(policy),
            reset=math.ceil(wait_s),
            retry_after=timedelta(seconds=wait_s),
            degraded=True,
        )

    def _policy_of(self, level: LevelSpec | str) -> Policy | None:
        """Return a level's numbers; None for a rule that the service has not told of yet."""
        if isinstance(level, LevelSpec) and level.message.HasField("policy"):
            return level.message.policy
        return self._told.get(level.name if isinstance(level, LevelSpec) else level)


def edge_limits(channel: grpc.aio.Channel) -> LimitsClient:
    """Return a client for the rules of the edge: they keep load away and guard nothing, so while nobody counts all pass."""
    return LimitsClient(channel, on_unreachable=OnUnreachable.OPEN)


def _seconds(policy: Policy) -> int:
    """Return a policy's period in whole seconds, rounded up."""
    return math.ceil(policy.period.seconds + policy.period.nanos / 1e9)


def _group(key: tuple[_Levels, str], checks: list[_Check]) -> Group:
    levels, tenant = key
    costs = [check[3] for check in checks]
    return Group(
        levels=[level.message if isinstance(level, LevelSpec) else Level(rule=level) for level in levels],
        subjects=[subject for check in checks for subject in check[2]],
        costs=costs if any(cost != 1 for cost in costs) else (),
        tenant=tenant,
    )


def _spread(outcome: GroupOutcome, places: list[int], outcomes: list[LimitOutcome | None], *, degraded: bool) -> None:
    """Put each check's outcome at its place."""
    policies = [(policy.name, policy.limit, _seconds(policy)) for policy in outcome.policies]
    columns = zip(
        places, outcome.allowed, outcome.level, outcome.remaining, outcome.reset_ms, outcome.retry_after_ms, strict=True
    )
    for place, allowed, level, remaining, reset_ms, retry_ms in columns:
        name, quota, window = policies[level]
        outcomes[place] = LimitOutcome(
            allowed=allowed,
            policy=name,
            quota=quota,
            window=window,
            remaining=remaining,
            reset=-(-reset_ms // 1000),
            retry_after=timedelta(milliseconds=retry_ms) if not allowed else None,
            degraded=degraded,
        )
