"""Decides rate-limit checks, also while the shared store is away."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from stylobate.clients.limit_rows import ALLOWED, REFUSED
from stylobate.declarations.limits_check import MAX_SUBJECT
from stylobate.errors import RedisUnavailableError
from stylobate.health import Health, Status
from stylobate.logs import get_logger
from stylobate.stopping import goes_on
from stylobate.telemetry import counter, counts, gauge
from stylobate.value_kinds import OnUnreachable

from stylobate_ratelimit.ban import AutomaticBan, BanSubject
from stylobate_ratelimit.errors import LimitInvalidError, LimitRuleUnknownError
from stylobate_ratelimit.group_outcome import GroupOutcome
from stylobate_ratelimit.model import CheckGroup, Limit
from stylobate_ratelimit.refusals import Bans, Refusals
from stylobate_ratelimit.store.port import LimitStore

MAX_CHECKS = 256
"""Checks in a batch: more would hold the Redis server, which does one thing at a time, for milliseconds."""
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
        self,
        store: LimitStore,
        local: LimitStore,
        rules: Mapping[str, Limit],
        on_redis_down: OnUnreachable = OnUnreachable.LOCAL,
        bans: Bans | None = None,
    ) -> None:
        self._store = store
        self._local = local
        self._rules = rules
        self._on_redis_down = on_redis_down
        self._down = asyncio.Event()
        self._cause = ""
        checks = counts("ratelimit_checks", "Rate-limit checks by outcome.", ("outcome",))
        self._allowed = checks.of("allowed")
        self._refused = checks.of("refused")
        self._bans = bans
        self._refusals = Refusals(bans)
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
        outcomes = await self._unbanned(groups)
        refused = 0
        for group, outcome in zip(groups, outcomes.groups, strict=True):
            refused += outcome.refused
            if outcome.refused or outcome.is_flagged:
                self._refusals.note(group, outcome)
        self._allowed.count += total - refused
        self._refused.count += refused
        if outcomes.degraded:
            self._degraded_checks.inc(total)
        return outcomes

    async def _unbanned(self, groups: Sequence[CheckGroup]) -> Outcomes:
        """Decide the checks of those who are not banned; refuse the others, and charge and count nothing of theirs."""
        bans = self._bans
        if bans is None or not bans.has_any:
            return await self._decide(groups)
        found = [_banned(bans, group) for group in groups]
        outcomes = await self._decide([group.without(banned) for group, banned in zip(groups, found, strict=True)])
        merged = [
            outcome.with_banned(group, banned) for group, outcome, banned in zip(groups, outcomes.groups, found, strict=True)
        ]
        return Outcomes(merged, outcomes.degraded)

    async def look(self, groups: Sequence[CheckGroup]) -> tuple[Sequence[GroupOutcome], bool]:
        """Return how checks that cost nothing stand, whoever is banned, and whether that is told by this process alone."""
        found = await self._decide(groups)
        return found.groups, found.degraded

    async def reset(self, tenant: str, limit: Limit, subject: str) -> None:
        """Give a subject its whole limit back, in this process too. Raises RedisUnavailableError."""
        await self._local.reset(tenant, limit, subject)
        await self._store.reset(tenant, limit, subject)

    async def quiet(self, ban: AutomaticBan, lasts: timedelta) -> None:
        """Count no refusals of who is banned, whichever store counts at the moment."""
        tenant, _, subject = ban.subject
        store = self._local if self._down.is_set() else self._store
        with suppress(RedisUnavailableError):  # it has counted none then
            await store.quiet(tenant, ban.rule, subject, lasts)

    async def forgive(self, subject: BanSubject, rule: str) -> None:
        """Forget the refusals that led to a ban."""
        store = self._local if self._down.is_set() else self._store
        with suppress(RedisUnavailableError):  # they expire by themselves
            await store.forgive(subject.tenant, rule, subject.subject)

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
        return Outcomes([await self._without_store(group) for group in groups], degraded=True)

    async def _without_store(self, group: CheckGroup) -> GroupOutcome:
        """Decide by what each level does without the store: one that is closed refuses, those that are open pass."""
        limits = group.levels.limits
        holds = [limit.on_redis_down or self._on_redis_down for limit in limits]
        closed = [at for at, (how, limit) in enumerate(zip(holds, limits, strict=True)) if how is _CLOSED and not limit.is_shadow]
        counted = [at for at, how in enumerate(holds) if how is OnUnreachable.LOCAL]
        if closed or not counted:
            return _same(group, closed[0] if closed else None)
        if len(counted) == len(limits):
            (outcome,) = await self._local.charge([group])
            return outcome
        (outcome,) = await self._local.charge([group.of_levels(counted)])
        return outcome.of_levels(counted)


_CLOSED = OnUnreachable.CLOSED


def _same(group: CheckGroup, refused: int | None) -> GroupOutcome:
    """Answer every check alike: by the level that refuses, or that all pass."""
    row = [ALLOWED, 0, 0, 0, 0, 0] if refused is None else [REFUSED, refused, 0, 0, _CLOSED_RETRY_MS, 0]
    return GroupOutcome.of([row] * len(group))


def _banned(bans: Bans, group: CheckGroup) -> dict[int, tuple[int, int]]:
    """Return the checks of a group whose subjects are banned: the level that counts them, and the milliseconds left."""
    found: dict[int, tuple[int, int]] = {}
    width = len(group.levels)
    for level, (limit, tenant) in enumerate(zip(group.levels.limits, group.levels.tenants, strict=True)):
        if limit.counts:
            for check, subject in enumerate(group.subjects[level::width]):
                left_ms = bans.left_ms(BanSubject(tenant, limit.counts, subject))
                if left_ms:
                    found[check] = level, left_ms
    return found


def _validate(group: CheckGroup) -> None:
    width = len(group.levels)
    if len(group.subjects) % width:
        raise LimitInvalidError(f"{len(group.subjects)} subjects are not a whole number of checks with {width} levels.")
    lengths = [*map(len, group.subjects)]
    if lengths and (min(lengths) < 1 or max(lengths) > MAX_SUBJECT):
        raise LimitInvalidError(f"A subject has 1 to {MAX_SUBJECT} characters.")
    if group.costs:
        if len(group.costs) != len(group):
            raise LimitInvalidError(f"{len(group.costs)} costs for {len(group)} checks.")
        capacity = min(limit.capacity // limit.cost for limit in group.levels.limits)
        if max(group.costs) > capacity:
            raise LimitInvalidError(
                f"A cost of {max(group.costs)} could never pass; the tightest limit takes {capacity} at once."
            )
