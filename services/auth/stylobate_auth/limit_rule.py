"""A limit that auth brings itself, as its settings declare it."""

from dataclasses import dataclass, field
from datetime import timedelta

from stylobate.declarations import parse_rate_limit
from stylobate.rpc.limits import LevelSpec


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """``burst`` at once, ``limit`` a period in the long run."""

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
