"""Decides rate-limit checks, also while the shared store is away."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from stylobate.declarations.limits_check import MAX_SUBJECT
from stylobate.errors import RedisUnavailableError
from stylobate.health import Health, Status
from stylobate.logs import get_logger
from stylobate.stopping import goes_on
from stylobate.telemetry import counter, counts, gauge

from stylobate_ratelimit.ban import AutomaticBan, BanSubject
from stylobate_ratelimit.errors import LimitInvalidError, LimitRuleUnknownError
from stylobate_ratelimit.group_outcome import GroupOutcome
from stylobate_ratelimit.model import CheckGroup, Limit
from stylobate_ratelimit.refusals import Bans, Refusals
from stylobate_ratelimit.stand_in import StandIn
from stylobate_ratelimit.store.port import LimitStore, Missing

MAX_CHECKS = 256
"""Checks in a batch: more would hold the Redis server, which does one thing at a time, for milliseconds."""
_LOOK_AGAIN_S = 0.5
_log = get_logger("app")


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of a batch."""

    groups: Sequence[GroupOutcome]
    degraded: bool
    """Whether the shared store could not be asked at all; where a part could not, the groups say which checks that was."""

    @property
    def degraded_count(self) -> int:
        """How many checks have a count that could not be asked."""
        return sum(outcome.count if self.degraded else len(outcome.degraded) for outcome in self.groups)


class RateLimiterManager:
    """Charges batches of checks in the shared store; while that is down, ``stand_in`` decides as each limit says.

    Whether the store answers is found out by the first check. The batch that finds it down pays for it (by the store's timeout);
    from then on nothing waits for it until :meth:`watch` has seen it answer again. A store of several servers does the same for
    each of them: checks that need one that is away are decided by the stand-in, as far as they do, and all others as ever.
    """

    def __init__(
        self,
        store: LimitStore,
        stand_in: StandIn,
        rules: Mapping[str, Limit],
        bans: Bans | None = None,
    ) -> None:
        self._store = store
        self._stand_in = stand_in
        self._rules = rules
        self._is_down = False
        self._missing: Missing | None = None
        self._lost = asyncio.Event()
        """Set while something is missing."""
        checks = counts("ratelimit_checks", "Rate-limit checks by outcome.", ("outcome",))
        self._allowed = checks.of("allowed")
        self._refused = checks.of("refused")
        self._bans = bans
        self._refusals = Refusals(bans)
        self._degraded_checks = counter("ratelimit_degraded_checks", "Checks decided without the shared store.")
        self._degraded = gauge("ratelimit_degraded", "1 while the shared store, or a part of it, does not answer.")
        self._share = gauge("ratelimit_degraded_share", "Of all subjects the share whose counts cannot be asked, 0 to 1.")

    @property
    def is_spread(self) -> bool:
        """Whether several servers count."""
        return self._store.is_spread

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
        if self._missing is not None and (degraded := outcomes.degraded_count):
            self._degraded_checks.inc(degraded)
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
        return found.groups, bool(found.degraded_count)

    async def reset(self, tenant: str, limit: Limit, subject: str) -> None:
        """Give a subject its whole limit back, in this process too. Raises RedisUnavailableError."""
        await self._stand_in.local.reset(tenant, limit, subject)
        await self._store.reset(tenant, limit, subject)

    async def quiet(self, ban: AutomaticBan, lasts: timedelta) -> None:
        """Count no refusals of who is banned, whichever store counts at the moment."""
        tenant, _, subject = ban.subject
        await self._stand_in.local.quiet(tenant, ban.rule, subject, lasts)
        if not self._is_down:
            with suppress(RedisUnavailableError):  # it has counted none then
                await self._store.quiet(tenant, ban.rule, subject, lasts)

    async def forgive(self, subject: BanSubject, rule: str) -> None:
        """Forget the refusals that led to a ban."""
        await self._stand_in.local.forgive(subject.tenant, rule, subject.subject)
        if not self._is_down:
            with suppress(RedisUnavailableError):  # they expire by themselves
                await self._store.forgive(subject.tenant, rule, subject.subject)

    async def watch(self) -> None:
        """Wait until something is found missing, then until it is there again; forever. Run it as a background task."""
        while goes_on():
            await self._lost.wait()
            try:
                await self._store.ready()
            except RedisUnavailableError:
                if not self._is_down:  # perhaps less is missing than before
                    self._note(self._store.missing)
                await asyncio.sleep(_LOOK_AGAIN_S)
            else:
                self._is_down = False
                self._note(None)

    async def health(self) -> Health:
        """Degraded while the shared store is down, or a part of it."""
        missing, policy = self._missing, self._stand_in.policy
        if missing is None:
            return Health()
        metrics = {"missing_share": missing.share}
        if self._is_down:
            return Health(Status.DEGRADED, f"Redis cannot be asked ({missing.details}); rate limits are {policy}", metrics)
        whose = "every subject" if missing.share == 1 else "subjects that are counted there"
        return Health(Status.DEGRADED, f"Redis: {missing.details}; rate limits of {whose} are {policy}", metrics)

    async def _decide(self, groups: Sequence[CheckGroup]) -> Outcomes:
        store = self._store
        if not self._is_down:
            try:
                found = await store.charge(groups)
            except RedisUnavailableError as error:
                self._is_down = True
                self._note(Missing(1.0, error.metadata.get("cause", error.detail)))
            else:
                if (missing := store.missing) is not None:
                    self._note(missing)
                return Outcomes(found, degraded=False)
        return Outcomes([(await self._stand_in.charge(group))[0] for group in groups], degraded=True)

    def _note(self, missing: Missing | None) -> None:
        """Say what is missing, once for each change."""
        known, self._missing = self._missing, missing
        if missing is None:
            self._lost.clear()
        else:
            self._lost.set()
        self._degraded.set(missing is not None)
        self._share.set(missing.share if missing else 0)
        if missing is None:
            if known is not None:
                _log.info("limits_shared_again")
        elif known is None or known.share != missing.share:
            _log.warning(
                "limits_degraded", policy=self._stand_in.policy.value, share=round(missing.share, 3), error=missing.details
            )


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
