"""Limits and checks, shortly written."""

from collections.abc import Sequence
from datetime import timedelta

from stylobate_ratelimit.group_outcome import GroupOutcome
from stylobate_ratelimit.model import Algorithm, CheckGroup, LevelSet, Limit
from stylobate_ratelimit.store.port import LimitStore

MINUTE = timedelta(minutes=1)


def window(limit: int, period: timedelta = MINUTE, name: str = "orders") -> Limit:
    """Return an exact window."""
    return Limit(name, Algorithm.WINDOW, limit, period)


def gcra(limit: int, period: timedelta = MINUTE, burst: int = 0, name: str = "edge") -> Limit:
    """Return a gcra."""
    return Limit(name, Algorithm.GCRA, limit, period, burst)


def level_set(*limits: Limit, tenant: str = "default") -> LevelSet:
    """Return levels of one tenant."""
    return LevelSet(limits, (tenant,) * len(limits))


def checks(levels: Limit | tuple[Limit, ...], *subjects: str, costs: Sequence[int] = (), tenant: str = "default") -> CheckGroup:
    """Return a group; subjects check by check."""
    return CheckGroup(level_set(*levels if isinstance(levels, tuple) else (levels,), tenant=tenant), subjects, costs)


async def charge(store: LimitStore, group: CheckGroup) -> GroupOutcome:
    """Charge one group."""
    (outcome,) = await store.charge([group])
    return outcome
