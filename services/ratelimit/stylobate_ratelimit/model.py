"""Limits and checks as plain data, in columns: n checks of k levels are a handful of lists, not n objects."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from stylobate.declarations.limits_check import MAX_LEVELS
from stylobate.declarations.model import BanRule
from stylobate.declarations.rules import LONGEST_BURST, WINDOW_MAXIMUM
from stylobate.value_kinds import OnUnreachable

from stylobate_ratelimit.ban import LEVELS
from stylobate_ratelimit.errors import LimitInvalidError

_LONGEST = timedelta(days=31)
_SHORTEST = timedelta(milliseconds=1)
_HIGHEST = 2**31 - 1
MOST_REFUSALS = 1000
"""That are remembered of a subject."""
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class Algorithm(StrEnum):
    """How a limit counts."""

    WINDOW = "window"
    """Exact: no period, wherever it begins, sees more than the limit."""
    GCRA = "gcra"
    """``burst`` at once, ``limit`` a period in the long run; one number per subject."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit. Raises LimitInvalidError for one that makes no sense."""

    name: str
    """Part of the keys and of headers: letters, digits, ``_``, ``.`` and ``-``."""
    algorithm: Algorithm
    limit: int
    """Charges a period."""
    period: timedelta
    burst: int = 0
    """For GCRA: charges at once; 0 means ``limit``."""
    cost: int = 1
    """What the cost of a check is multiplied by here."""
    is_shadow: bool = False
    """Whether it counts and never refuses."""
    counts: str = ""
    """The level that its subjects are banned on; empty: they cannot be banned."""
    ban: BanRule | None = None
    on_redis_down: OnUnreachable | None = None
    """None: what the setting says."""
    period_us: int = field(init=False)
    """The period in microseconds."""
    interval_us: int = field(init=False)
    """For GCRA: what a charge costs, in microseconds; rounded up, so that the long run never exceeds the limit."""
    tolerance_us: int = field(init=False)
    """For GCRA: how far ahead of time charges may run."""

    def __post_init__(self) -> None:
        """Check, and derive the numbers that the stores count with."""
        if not _NAME.fullmatch(self.name):
            raise LimitInvalidError(f"{self.name!r} is not a valid limit name; use letters, digits, `_`, `.` and `-`.")
        if not _SHORTEST <= self.period <= _LONGEST:
            raise LimitInvalidError(f"The period of {self.name} must be between a millisecond and 31 days.")
        period_us = self.period // timedelta(microseconds=1)
        most = WINDOW_MAXIMUM if self.algorithm is Algorithm.WINDOW else min(period_us, _HIGHEST)
        if not 1 <= self.limit <= most:
            raise LimitInvalidError(f"The limit {self.name} must be between 1 and {most} a period ({self.algorithm}).")
        if not 0 <= self.burst <= _HIGHEST:
            raise LimitInvalidError(f"The burst of {self.name} must be at most {_HIGHEST}.")
        if not 1 <= self.cost <= self.capacity:
            raise LimitInvalidError(f"The cost of {self.name} must be between 1 and {self.capacity}, what it takes at once.")
        if self.counts and self.counts not in LEVELS:
            raise LimitInvalidError(f"{self.name} counts {self.counts!r}, which cannot be banned.")
        if self.ban is not None:
            self._check_ban(self.ban)
        interval_us = -(-period_us // self.limit)
        if self.capacity * interval_us > LONGEST_BURST // timedelta(microseconds=1):
            raise LimitInvalidError(f"The burst of {self.name} comes back in more than {LONGEST_BURST.days // 365} years.")
        object.__setattr__(self, "period_us", period_us)
        object.__setattr__(self, "interval_us", interval_us)
        object.__setattr__(self, "tolerance_us", self.capacity * interval_us)

    def _check_ban(self, ban: BanRule) -> None:
        if not self.counts:
            raise LimitInvalidError(f"{self.name} counts nobody who could be banned.")
        if not 1 <= ban.after <= MOST_REFUSALS:
            raise LimitInvalidError(f"{self.name} must ban after 1 to {MOST_REFUSALS} refusals.")
        if not all(_SHORTEST <= time <= _LONGEST for time in (ban.within, ban.first, ban.ceiling)):
            raise LimitInvalidError(f"The times of the bans of {self.name} must be between a millisecond and 31 days.")

    @property
    def capacity(self) -> int:
        """The most that one check can be charged."""
        return (self.burst or self.limit) if self.algorithm is Algorithm.GCRA else self.limit


@dataclass(frozen=True, slots=True, eq=False)
class LevelSet:
    """The levels that checks share. Made once and kept: stores keep by its identity what they derive from it.

    :raises LimitInvalidError: levels that make no sense together.
    """

    limits: tuple[Limit, ...]
    tenants: tuple[str, ...]
    """Of each level's subjects."""

    def __post_init__(self) -> None:
        """Check."""
        width = len(self.limits)
        if not 1 <= width <= MAX_LEVELS:
            raise LimitInvalidError(f"A check has 1 to {MAX_LEVELS} levels, not {width}.")
        if width > 1 and len({limit.name for limit in self.limits}) < width:
            raise LimitInvalidError("A check names a limit twice.")
        for tenant in self.tenants:
            if not tenant or ":" in tenant:
                raise LimitInvalidError(f"{tenant!r} is not a tenant.")

    def __len__(self) -> int:
        """Return k."""
        return len(self.limits)


@dataclass(slots=True)
class CheckGroup:
    """n checks that share their k levels."""

    levels: LevelSet
    subjects: Sequence[str]
    """n*k: those of check i stand at i*k to i*k+k-1."""
    costs: Sequence[int] = ()
    """n, or none when each costs 1. A cost of 0 looks without charging."""

    def __len__(self) -> int:
        """Return n."""
        return len(self.subjects) // len(self.levels)

    def without(self, checks: Collection[int]) -> "CheckGroup":
        """Return the group without these checks."""
        if not checks:
            return self
        width = len(self.levels)
        kept = [at for at in range(len(self)) if at not in checks]
        subjects = [subject for at in kept for subject in self.subjects[at * width : (at + 1) * width]]
        return CheckGroup(self.levels, subjects, [self.costs[at] for at in kept] if self.costs else ())

    def of_levels(self, kept: Sequence[int]) -> "CheckGroup":
        """Return the same checks on these levels only."""
        levels, width = self.levels, len(self.levels)
        part = LevelSet(tuple(levels.limits[at] for at in kept), tuple(levels.tenants[at] for at in kept))
        return CheckGroup(part, [self.subjects[check * width + at] for check in range(len(self)) for at in kept], self.costs)


class Charge(NamedTuple):
    """What a subject was charged at a limit."""

    tenant: str
    limit: Limit
    subject: str
    units: int
    full_ms: int
    """Until the limit was full again, as the charge was answered."""
