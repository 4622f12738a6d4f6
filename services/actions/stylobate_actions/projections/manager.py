"""The projections of all modules: of all processes of the service the one with the lease runs them."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial

from stylobate.errors import UnavailableError
from stylobate.health import Health, Status
from stylobate.leases import Lease, LeaseManager
from stylobate.telemetry import gauge

from stylobate_actions.projections.projector import Projector

LEASE = "projections"
_LATE = timedelta(seconds=30)


class Projections:
    """Runs projectors while the lease is held.

    The lease only spares the others the work: what is written is written once, whoever holds it.
    """

    def __init__(self, projectors: Sequence[Projector], leases: LeaseManager) -> None:
        self._projectors = projectors
        self._leases = leases
        self._is_leading = False
        lag = gauge("projection_lag_seconds", "Age of the oldest event that a projection has not dealt with.", ("projection",))
        pending = gauge("projection_pending", "Events received and not dealt with.", ("projection",))
        for projector in projectors:
            lag.labels(projector.name).set_function(partial(getattr, projector, "lag_s"))
            pending.labels(projector.name).set_function(partial(getattr, projector, "pending"))

    async def run(self) -> None:
        """Run them, forever."""
        if not self._projectors:
            await asyncio.Event().wait()  # work that ends by itself counts as a failure
        await self._leases.run(LEASE, self._lead)

    async def health(self) -> Health:
        """Tell what stands and how far behind the others are; a process that stands by is healthy while another one runs them."""
        lag = max((projector.lag_s for projector in self._projectors), default=0.0)
        metrics = {"leading": float(self._is_leading), "lag_seconds": round(lag, 3)}
        faults = [f"{projector.name} stands at {projector.error}" for projector in self._projectors if projector.error]
        if lag > _LATE.total_seconds() and not faults:
            late = (projector.name for projector in self._projectors if projector.lag_s > _LATE.total_seconds())
            faults.append(f"behind: {', '.join(late)}")
        if self._projectors and not self._is_leading:
            with suppress(UnavailableError):  # the database's own check says so
                if vacancy := await self._leases.vacancy(LEASE):
                    faults.append(f"nobody runs projections: {vacancy}")
        return Health(Status.DEGRADED if faults else Status.HEALTHY, "; ".join(faults), metrics)

    async def _lead(self, lease: Lease) -> None:
        del lease
        self._is_leading = True
        try:
            async with asyncio.TaskGroup() as group:
                for projector in self._projectors:
                    group.create_task(projector.run())
        finally:
            self._is_leading = False
