"""Between protobuf messages and the manager's plain types."""

from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache

from stylobate.api.ratelimit.v1 import ratelimit_service_pb2 as pb
from stylobate.identity.principal import DEFAULT_TENANT

from stylobate_ratelimit.errors import LimitInvalidError
from stylobate_ratelimit.model import Algorithm, CheckGroup, GroupOutcome, Limit
from stylobate_ratelimit.rate_limiter_manager import Outcomes

_ALGORITHMS: dict[int, Algorithm] = {
    pb.ALGORITHM_UNSPECIFIED: Algorithm.WINDOW,
    pb.ALGORITHM_WINDOW: Algorithm.WINDOW,
    pb.ALGORITHM_GCRA: Algorithm.GCRA,
}
_MESSAGES = {Algorithm.WINDOW: pb.ALGORITHM_WINDOW, Algorithm.GCRA: pb.ALGORITHM_GCRA}


def from_groups(request: pb.CheckLimitsRequest, rule: Callable[[str], Limit]) -> list[CheckGroup]:
    """Return the request's groups. ``rule`` finds a limit by name. Raises LimitInvalidError, and what ``rule`` raises."""
    return [
        CheckGroup(
            tenant=group.tenant or DEFAULT_TENANT,
            levels=tuple(_from_level(level, rule) for level in group.levels),
            subjects=list(group.subjects),
            costs=list(group.costs),
        )
        for group in request.groups
    ]


def to_response(groups: list[CheckGroup], outcomes: Outcomes) -> pb.CheckLimitsResponse:
    """Return the response to the groups."""
    return pb.CheckLimitsResponse(
        outcomes=[_to_outcome(group, outcome) for group, outcome in zip(groups, outcomes.groups, strict=True)],
        degraded=outcomes.degraded,
    )


def _from_level(level: pb.Level, rule: Callable[[str], Limit]) -> Limit:
    which = level.WhichOneof("limit")
    if which == "rule":
        return rule(level.rule)
    if which is None:
        raise LimitInvalidError("A level names neither a rule nor a policy.")
    policy = level.policy
    return _from_policy(policy.name, policy.algorithm, policy.limit, policy.period.seconds, policy.period.nanos, policy.burst)


@lru_cache(maxsize=4096)
def _from_policy(name: str, kind: int, limit: int, seconds: int, nanos: int, burst: int) -> Limit:  # noqa: PLR0917  the key
    """Return the limit that a caller brought along; checked when it is first seen, since the same few come all the time."""
    algorithm = _ALGORITHMS.get(kind)
    if algorithm is None:
        raise LimitInvalidError(f"The limit {name} counts in a way that this service does not know.")
    try:
        period = timedelta(seconds=seconds, microseconds=nanos // 1000)
    except OverflowError:
        raise LimitInvalidError(f"The period of {name} is longer than any time.") from None
    return Limit(name, algorithm, limit, period, burst)


def _to_outcome(group: CheckGroup, outcome: GroupOutcome) -> pb.GroupOutcome:
    return pb.GroupOutcome(
        allowed=outcome.allowed,
        level=outcome.level,
        remaining=outcome.remaining,
        reset_ms=outcome.reset_ms,
        retry_after_ms=outcome.retry_after_ms,
        policies=[_to_policy(limit) for limit in group.levels],
    )


@lru_cache(maxsize=4096)
def _to_policy(limit: Limit) -> pb.Policy:
    policy = pb.Policy(name=limit.name, algorithm=_MESSAGES[limit.algorithm], limit=limit.limit, burst=limit.burst)
    policy.period.FromTimedelta(limit.period)
    return policy
