"""A limit that auth brings itself, as its settings declare it."""

from dataclasses import dataclass
from datetime import timedelta

from stylobate.declarations import parse_rate_limit


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """``burst`` at once, ``limit`` a period in the long run."""

    name: str
    limit: int
    period: timedelta
    burst: int

    @classmethod
    def parse(cls, name: str, text: str) -> "Rule":
        """Return the rule of ``10/minute`` or ``10/minute burst 20``; without a burst the limit at once. Raises ValueError."""
        parsed = parse_rate_limit(text if " " in text.strip() else f"{text} gcra")
        return cls(name, parsed.limit, parsed.period, parsed.burst or parsed.limit)
