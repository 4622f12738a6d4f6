"""Decides rate-limit checks, also while the shared store is away."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stylobate.errors import RedisUnavailableError
from stylobate.health import Health, Status
from stylobate.logs import get_logger
from stylobate.stopping import goes_on
from stylobate.telemetry import counter, gauge
from stylobate.value_kinds import OnUnreachable

from stylobate_ratelimit.errors import LimitInvalidError, LimitRuleUnknownError
from stylobate_ratelimit.model import CheckGroup, GroupOutcome, Limit
from stylobate_ratelimit.store.port import LimitStore

MAX_CHECKS = 256
"""Checks in a batch: more would hold the Redis server, which does one thing at a time, for milliseconds."""
MAX_LEVELS = 8
_MAX_SUBJECT = 512
_CLOSED_RETRY_MS = 1000
_LOOK_AGAIN_S = 0.5
_log = get_logger("app")


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of a batch."""

    groups: Sequence[GroupOutcome]
    degraded: bool
    """Whether the shared store could not be asked."""


class RateLimiterManager:
    """Charges batches of checks in the shared store; while that is down, ``on_redis_down`` decides.

    Whether the store answers is found out by the first check. The batch that finds it down pays for it (by the store's timeout);
    from then on nothing waits for it until :meth:`watch` has seen it answer again.
    """

    def __init__(
        self, store: LimitStore, local: LimitStore, rules: Mapping[str, Limit], on_redis_down: OnUnreachable = OnUnreachable.LOCAL
    ) -> None:
        self._store = store
        self._local = local
        self._rules = rules
        self._on_redis_down = on_redis_down
        self._down = asyncio.Event()
        self._cause = ""
        checks = counter("ratelimit_checks", "Rate-limit checks by outcome.", ("outcome",))
        self._allowed = checks.labels("allowed")
        self._refused = checks.labels("refused")
        self._degraded_checks = counter("ratelimit_degraded_checks", "Checks decided without the shared store.")
        self._degraded = gauge("ratelimit_degraded", "1 while the shared store does not answer.")

    def rule(self, name: str) -> Limit:
        """Return the rule of that name. Raises LimitRuleUnknownError."""
        try:
            return self._rules[name]
        except KeyError:
            raise LimitRuleUnknownError(f"There is no rule {name!r}; known: {', '.join(sorted(self._rules))}.") from None

    async def check(self, groups: Sequence[CheckGroup]) -> Outcomes:
        """Decide and charge the checks in order; each is charged at all of its levels or at none.

        :raises LimitInvalidError: for a batch that makes no sense; nothing is charged.
        """
        total = 0
        for group in groups:
            _validate(group)
            total += len(group)
        if total > MAX_CHECKS:
            raise LimitInvalidError(f"{total} checks in one call; at most {MAX_CHECKS}.")
        outcomes = await self._decide(groups)
        allowed = sum(sum(outcome.allowed) for outcome in outcomes.groups)
        self._allowed.inc(allowed)
        self._refused.inc(total - allowed)
        if outcomes.degraded:
            self._degraded_checks.inc(total)
        return outcomes

    async def watch(self) -> None:
        """Wait until the store is found down, then until it answers again; forever. Run it as a background task."""
        while goes_on():
            await self._down.wait()
            try:
                await self._store.ready()
            except RedisUnavailableError:
                await asyncio.sleep(_LOOK_AGAIN_S)
            else:
                self._down.clear()
                self._degraded.set(0)
                _log.info("limits_shared_again")

    async def health(self) -> Health:
        """Degraded while the shared store is down."""
        if self._down.is_set():
            return Health(Status.DEGRADED, f"Redis cannot be asked ({self._cause}); rate limits are {self._on_redis_down}")
        return Health()

    async def _decide(self, groups: Sequence[CheckGroup]) -> Outcomes:
        if not self._down.is_set():
            try:
                return Outcomes(await self._store.charge(groups), degraded=False)
            except RedisUnavailableError as error:
                if not self._down.is_set():
                    self._down.set()
                    self._degraded.set(1)
                    self._cause = error.metadata.get("cause", error.detail)
                    _log.warning("limits_degraded", policy=self._on_redis_down.value, error=self._cause)
        if self._on_redis_down is OnUnreachable.LOCAL:
            return Outcomes(await self._local.charge(groups), degraded=True)
        is_open = self._on_redis_down is OnUnreachable.OPEN
        return Outcomes([_same(group, allowed=is_open) for group in groups], degraded=True)


def _same(group: CheckGroup, *, allowed: bool) -> GroupOutcome:
    """Answer every check alike."""
    count = len(group)
    zeros = [0] * count
    return GroupOutcome([allowed] * count, zeros, zeros, zeros, zeros if allowed else [_CLOSED_RETRY_MS] * count)


def _validate(group: CheckGroup) -> None:
    width = len(group.levels)
    if not 1 <= width <= MAX_LEVELS:
        raise LimitInvalidError(f"A check has 1 to {MAX_LEVELS} levels, not {width}.")
    if width > 1 and len({limit.name for limit in group.levels}) < width:
        raise LimitInvalidError("A check names a limit twice.")
    if not group.tenant or ":" in group.tenant:
        raise LimitInvalidError(f"{group.tenant!r} is not a tenant.")
    if len(group.subjects) % width:
        raise LimitInvalidError(f"{len(group.subjects)} subjects are not a whole number of checks with {width} levels.")
    lengths = [*map(len, group.subjects)]
    if lengths and (min(lengths) < 1 or max(lengths) > _MAX_SUBJECT):
        raise LimitInvalidError(f"A subject has 1 to {_MAX_SUBJECT} characters.")
    if group.costs:
        if len(group.costs) != len(group):
            raise LimitInvalidError(f"{len(group.costs)} costs for {len(group)} checks.")
        capacity = min(limit.capacity for limit in group.levels)
        if max(group.costs) > capacity:
            raise LimitInvalidError(
                f"A cost of {max(group.costs)} could never pass; the tightest limit takes {capacity} at once."
            )
