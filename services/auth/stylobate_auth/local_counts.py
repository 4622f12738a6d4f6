"""Counts of this process alone: what limits go by while the ratelimit service cannot be asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from time import monotonic

from stylobate.declarations import parse_rate_limit
from stylobate.rpc.limits import LevelSpec

_MOST = 100_000
"""Subjects that are counted; past it those counted first are forgotten."""


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """A limit that auth brings itself: ``burst`` at once, ``limit`` a period in the long run."""

    name: str
    limit: int
    period: timedelta
    burst: int
    level: LevelSpec = field(init=False)
    """As the ratelimit service takes it."""

    def __post_init__(self) -> None:
        """Make the level."""
        level = LevelSpec.of_policy(self.name, self.limit, self.period, algorithm="gcra", burst=self.burst)
        object.__setattr__(self, "level", level)

    @classmethod
    def parse(cls, name: str, text: str) -> "Rule":
        """Return the rule of ``10/minute`` or ``10/minute burst 20``; without a burst the limit at once. Raises ValueError."""
        parsed = parse_rate_limit(text if " " in text.strip() else f"{text} gcra")
        return cls(name, parsed.limit, parsed.period, parsed.burst or parsed.limit)

    @property
    def interval_s(self) -> float:
        """Seconds that a charge costs."""
        return self.period.total_seconds() / self.limit


class LocalCounts:
    """Charges rules in memory.

    :param clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = monotonic, most: int = _MOST) -> None:
        self._clock = clock
        self._most = most
        self._times: dict[tuple[str, str], float] = {}
        """By rule and subject: the theoretical arrival time (GCRA)."""

    def charge(self, rules: Sequence[Rule], subjects: Sequence[str]) -> float:
        """Charge every rule, or none when one refuses; return the seconds until it can pass, 0 when it was charged."""
        now = self._clock()
        after = {
            (rule.name, subject): max(self._times.get((rule.name, subject), now), now) + rule.interval_s
            for rule, subject in zip(rules, subjects, strict=True)
        }
        waits = (time - now - rule.burst * rule.interval_s for rule, time in zip(rules, after.values(), strict=True))
        if (wait := max(waits)) > 1e-9:  # noqa: PLR2004  what sums of floats are off by
            return wait
        for key, time in after.items():
            self._times.pop(key, None)  # the order is by the last charge
            self._times[key] = time
        if len(self._times) > self._most:
            for key in list(islice(self._times, self._most // 8)):
                del self._times[key]
        return 0.0
