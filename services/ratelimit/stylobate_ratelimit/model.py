"""Limits and checks as plain data, in columns: n checks of k levels are a handful of lists, not n objects."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from stylobate.declarations.rules import WINDOW_MAXIMUM

from stylobate_ratelimit.errors import LimitInvalidError

_LONGEST = timedelta(days=31)
_SHORTEST = timedelta(milliseconds=1)
_HIGHEST = 2**31 - 1
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
        interval_us = -(-period_us // self.limit)
        object.__setattr__(self, "period_us", period_us)
        object.__setattr__(self, "interval_us", interval_us)
        object.__setattr__(self, "tolerance_us", self.capacity * interval_us)

    @property
    def capacity(self) -> int:
        """The most that one check can be charged."""
        return (self.burst or self.limit) if self.algorithm is Algorithm.GCRA else self.limit


@dataclass(frozen=True, slots=True)
class CheckGroup:
    """n checks that share their k levels."""

    tenant: str
    levels: tuple[Limit, ...]
    subjects: Sequence[str]
    """n*k: those of check i stand at i*k to i*k+k-1."""
    costs: Sequence[int] = ()
    """n, or none when each costs 1. A cost of 0 looks without charging."""

    def __len__(self) -> int:
        """Return n."""
        return len(self.subjects) // len(self.levels)


@dataclass(frozen=True, slots=True)
class GroupOutcome:
    """Outcomes of a group, in columns of n."""

    allowed: Sequence[bool]
    level: Sequence[int]
    """The level that refused (of several, the one to wait for longest), else the one with the least left."""
    remaining: Sequence[int]
    """What is left at that level."""
    reset_ms: Sequence[int]
    """Until that level is full again."""
    retry_after_ms: Sequence[int]
    """Until a retry can pass; 0 when allowed."""
