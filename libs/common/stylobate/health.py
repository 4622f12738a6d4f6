"""Health: one shape for every manager, and the roll-up of a process.

Liveness never asks a dependency; readiness is the roll-up of the named checks.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

_WITHIN_S = 1.0
"""How long a check may take to say how its part is."""


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


class BoundedCheck:
    """One check. While one asking is under way others wait for the same: a part that hangs is asked once, not again and again.

    It is not cancelled: a driver may take long to give up too (a cancelled query asks the server first, which may be frozen).
    """

    def __init__(self, check: HealthCheck) -> None:
        self._check = check
        self._asking: asyncio.Task[Health] | None = None

    async def ask(self) -> Health:
        """Return the health. One that does not say in time, or fails to, is not well: the others are heard all the same."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._guarded(), name="health check")
        await asyncio.wait((self._asking,), timeout=_WITHIN_S)
        if not self._asking.done():
            return Health(Status.UNHEALTHY, f"does not say within {_WITHIN_S:g} s")
        return Health(Status.UNHEALTHY, "stopped") if self._asking.cancelled() else self._asking.result()

    def stop(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()

    async def _guarded(self) -> Health:
        try:
            return await self._check()
        except Exception as error:  # noqa: BLE001  it is the answer
            return Health(Status.UNHEALTHY, f"{type(error).__name__}: {error}")
