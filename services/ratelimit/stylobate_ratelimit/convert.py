"""Between protobuf messages and the manager's plain types."""

from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple
from zlib import crc32

from stylobate.api.ratelimit.v1 import ratelimit_service_pb2 as pb
from stylobate.bounded_dict import BoundedDict
from stylobate.clients.limit_groups import AnsweredGroup, AskedGroup, GroupKey, group_of
from stylobate.declarations.model import BanRule, LimitRule
from stylobate.identity.principal import DEFAULT_TENANT
from stylobate.value_kinds import OnUnreachable

from stylobate_ratelimit.errors import LimitInvalidError
from stylobate_ratelimit.group_outcome import GroupOutcome
from stylobate_ratelimit.model import Algorithm, CheckGroup, LevelSet, Limit
from stylobate_ratelimit.usage_manager import Usage

_ALGORITHMS: dict[int, Algorithm] = {
    pb.ALGORITHM_UNSPECIFIED: Algorithm.WINDOW,
    pb.ALGORITHM_WINDOW: Algorithm.WINDOW,
    pb.ALGORITHM_GCRA: Algorithm.GCRA,
}
_MOST_KNOWN = 4096
_ON_DOWN = {
    pb.ON_STORE_DOWN_LOCAL: OnUnreachable.LOCAL,
    pb.ON_STORE_DOWN_OPEN: OnUnreachable.OPEN,
    pb.ON_STORE_DOWN_CLOSED: OnUnreachable.CLOSED,
}
_MESSAGES = {Algorithm.WINDOW: pb.ALGORITHM_WINDOW, Algorithm.GCRA: pb.ALGORITHM_GCRA}


class ReadLevels(NamedTuple):
    """Levels of a group, and what their caller is told of them."""

    levels: LevelSet
    policies: tuple[pb.Policy, ...]
    digest: int
    """Of the policies."""


class Levels:
    """Reads the levels of groups. The same few come all the time, so that each set is read once and known by its bytes.

    :param rule: finds a limit by name. Raises LimitRuleUnknownError.
    """

    def __init__(self, rule: Callable[[str], Limit]) -> None:
        self._rule = rule
        self._known: BoundedDict[tuple[object, ...], ReadLevels] = BoundedDict(_MOST_KNOWN)
        self._by_key: BoundedDict[GroupKey, ReadLevels] = BoundedDict(_MOST_KNOWN)

    def of(self, group: pb.Group) -> ReadLevels:
        """Return the levels of a group. Raises LimitInvalidError, LimitRuleUnknownError."""
        key = group.tenant, *[level.SerializeToString() for level in group.levels]
        read = self._known.get(key)
        if read is None:
            read = self._read(group)
            self._known.put(key, read)
        return read

    def known(self, key: GroupKey) -> ReadLevels:
        """Return the levels that somebody in this process keeps. Raises as :meth:`of` does."""
        read = self._by_key.get(key)
        if read is None:
            read = self.of(group_of(key))
            self._by_key.put(key, read)
        return read

    def forget(self) -> None:
        """Read all anew: rules have other numbers."""
        self._known.clear()
        self._by_key.clear()

    def _read(self, group: pb.Group) -> ReadLevels:
        tenant = group.tenant or DEFAULT_TENANT
        limits = tuple(from_level(level, self._rule) for level in group.levels)
        levels = LevelSet(limits, tuple(level.tenant or tenant for level in group.levels))
        policies = tuple(map(_to_policy, limits))
        return ReadLevels(levels, policies, crc32(b"".join(policy.SerializeToString(deterministic=True) for policy in policies)))


def to_rule(rule: LimitRule, limit: Limit) -> pb.Rule:
    """Return a rule as it is told."""
    place = f"{rule.file}:{rule.line}" if rule.file else ""
    return pb.Rule(policy=_to_policy(limit), per=rule.per, text=rule.limit.text, place=place)


def to_usage(usage: Usage) -> pb.GetUsageResponse:
    """Return how a subject stands."""
    response = pb.GetUsageResponse(policy=_to_policy(usage.limit), remaining=usage.remaining, degraded=usage.degraded)
    response.reset.FromTimedelta(usage.reset)
    return response


def from_group(group: pb.Group, read: ReadLevels) -> CheckGroup:
    """Return the checks of a group whose levels were read."""
    return CheckGroup(read.levels, list(group.subjects), list(group.costs))


def from_asked(group: AskedGroup, read: ReadLevels) -> CheckGroup:
    """Return the checks of a group that came without a message. Raises LimitInvalidError."""
    if "\0" in "".join(group.subjects):  # of a message it is said before anything looks at it
        raise LimitInvalidError("A subject has no character U+0000.")
    return CheckGroup(read.levels, group.subjects, group.costs)


def to_answered(group: AskedGroup, read: ReadLevels, outcome: GroupOutcome) -> AnsweredGroup:
    """Return what such a group is answered."""
    policies = () if group.known_policies == read.digest else read.policies
    return AnsweredGroup(outcome.rows, policies, read.digest, outcome.degraded)


def to_outcome_in(response: pb.CheckLimitsResponse, group: pb.Group, read: ReadLevels, outcome: GroupOutcome) -> None:
    """Add what a group is answered; in its place, since a message that is put into another one is copied."""
    policies = () if group.known_policies == read.digest else read.policies
    if group.reads_rows:
        response.outcomes.add(rows=outcome.rows, policies=policies, policies_digest=read.digest)
        if outcome.degraded:
            response.outcomes[-1].degraded_checks.extend(outcome.degraded)
        return
    response.outcomes.add(
        allowed=outcome.allowed,
        level=outcome.level,
        remaining=outcome.remaining,
        reset_ms=outcome.reset_ms,
        retry_after_ms=outcome.retry_after_ms,
        policies=policies,
        policies_digest=read.digest,
        standings=outcome.standings,
        banned=outcome.banned,
        degraded_checks=outcome.degraded,
    )


def from_level(level: pb.Level, rule: Callable[[str], Limit]) -> Limit:
    """Return the limit that a level asks for. Raises LimitInvalidError, and what ``rule`` raises."""
    which = level.WhichOneof("limit")
    if which == "rule":
        return rule(level.rule)
    if which is None:
        raise LimitInvalidError("A level names neither a rule nor a policy.")
    policy = level.policy
    name, seconds, nanos = policy.name, policy.period.seconds, policy.period.nanos
    algorithm = _ALGORITHMS.get(policy.algorithm)
    if algorithm is None:
        raise LimitInvalidError(f"The limit {name} counts in a way that this service does not know.")
    try:
        period = timedelta(seconds=seconds, microseconds=nanos // 1000)
        ban = _from_ban(policy.ban) if policy.HasField("ban") else None
    except OverflowError:
        raise LimitInvalidError(f"The period of {name} is longer than any time.") from None
    return Limit(
        name,
        algorithm,
        policy.limit,
        period,
        policy.burst,
        cost=policy.cost or 1,
        is_shadow=policy.shadow,
        counts=policy.counts,
        ban=ban,
        on_redis_down=_ON_DOWN.get(policy.on_store_down),
    )


def _from_ban(ban: pb.BanRule) -> BanRule:
    return BanRule(ban.after, ban.within.ToTimedelta(), ban.first.ToTimedelta(), ban.ceiling.ToTimedelta())


def _to_policy(limit: Limit) -> pb.Policy:
    policy = pb.Policy(name=limit.name, algorithm=_MESSAGES[limit.algorithm], limit=limit.limit, burst=limit.burst)
    policy.period.FromTimedelta(limit.period)
    policy.shadow, policy.counts = limit.is_shadow, limit.counts
    policy.cost = limit.cost if limit.cost > 1 else 0
    if limit.ban is not None:
        policy.ban.after = limit.ban.after
        policy.ban.within.FromTimedelta(limit.ban.within)
        policy.ban.first.FromTimedelta(limit.ban.first)
        policy.ban.ceiling.FromTimedelta(limit.ban.ceiling)
    if limit.on_redis_down is not None:
        policy.on_store_down = next(name for name, how in _ON_DOWN.items() if how is limit.on_redis_down)
    return policy
