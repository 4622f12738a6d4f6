"""Settings of the ratelimit service."""

from datetime import timedelta
from typing import ClassVar

from pydantic import Field, field_validator
from stylobate.config import Settings
from stylobate.declarations import parse_rate_limit
from stylobate.value_kinds import OnUnreachable

from stylobate_ratelimit.model import Algorithm, Limit


class RateLimitSettings(Settings):
    """The rules known by name, and what holds while Redis is away."""

    service: ClassVar[str] = "ratelimit"

    edge_ip: str = "300/second"
    """Rule `edge.ip`: requests of one address at the edge, any number up to this at once (gcra); `300/second burst 600` too."""
    edge_user: str = "100/second"
    """Rule `edge.user`: requests of one user at the edge; as edge_ip."""
    on_redis_down: OnUnreachable = OnUnreachable.LOCAL
    """local: each process counts by itself; open: everything passes; closed: everything is refused."""
    redis_timeout: timedelta = Field(default=timedelta(milliseconds=500), gt=timedelta(0))
    """How long a batch waits for Redis before on_redis_down holds."""
    local_subjects: int = Field(default=100_000, ge=1)
    """Subjects a process counts by itself while Redis is down; past it the oldest are forgotten."""
    event_retention: timedelta = Field(default=timedelta(days=30), ge=timedelta(hours=1))
    """How long published events are kept for readers that were away."""

    @field_validator("edge_ip", "edge_user")
    @classmethod
    def _is_a_rule(cls, text: str) -> str:
        _rule("edge", text)
        return text

    @property
    def rules(self) -> dict[str, Limit]:
        """The rules by name."""
        return {name: _rule(name, text) for name, text in (("edge.ip", self.edge_ip), ("edge.user", self.edge_user))}


def _rule(name: str, text: str) -> Limit:
    """Return the limit of ``300/second`` or ``300/second burst 600``; always gcra. Raises ValueError."""
    parsed = parse_rate_limit(text, plain="gcra")
    return Limit(name, Algorithm.GCRA, parsed.limit, parsed.period, parsed.burst)
