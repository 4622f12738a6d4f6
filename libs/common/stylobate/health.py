"""Health: one shape for every manager, and the roll-up of a process.

Liveness never asks a dependency; readiness is the roll-up of the named checks.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How something is."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class Health:
    """What a manager says of itself."""

    status: Status = Status.HEALTHY
    details: str = ""
    """Why, when it is not healthy; one line."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    dependencies: Mapping[str, "Health"] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form ``{status, details, metrics, dependencies}``."""
        return {
            "status": self.status.value,
            "details": self.details,
            "metrics": dict(self.metrics),
            "dependencies": {name: health.as_dict() for name, health in self.dependencies.items()},
        }


HealthCheck = Callable[[], Awaitable[Health]]
"""Answers quickly and never raises for the fault that it reports."""


def worst(statuses: Iterable[Status]) -> Status:
    """Return the worst of the statuses; healthy when there is none."""
    order = (Status.HEALTHY, Status.DEGRADED, Status.UNHEALTHY)
    return max(statuses, key=order.index, default=Status.HEALTHY)
