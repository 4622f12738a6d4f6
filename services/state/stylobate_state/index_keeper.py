"""Keeps the indexes that this process declares: says so again and again, and builds what is not ready under a lease."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from stylobate.errors import UnavailableError
from stylobate.health import Health, Status
from stylobate.leases import Lease
from stylobate.logs import get_logger
from stylobate.resilience import backoff
from stylobate.stopping import check_cancelled, goes_on

from stylobate_state.index import Index
from stylobate_state.model import IndexStanding
from stylobate_state.store.port import StateStore

LEASE = "state-indexes"
AT_ONCE = 500
"""Objects that are entered in one transaction, and locked meanwhile."""
PAUSE_S = 5.0
"""Between declarations, and between looks at what is to be built. A fraction of the time after which one is removed."""
_LOGGED_EVERY = 50_000
_log = get_logger("app")


class IndexKeeper:
    """Declares and builds.

    :param pause_s: between declarations, and between looks at what is to be built.
    """

    def __init__(self, store: StateStore, indexes: Sequence[Index], *, pause_s: float = PAUSE_S) -> None:
        self._store = store
        self._indexes = indexes
        self._pause_s = pause_s

    @classmethod
    @asynccontextmanager
    async def open(cls, store: StateStore, indexes: Sequence[Index]) -> AsyncIterator["IndexKeeper"]:
        """Declare the indexes before anything is served: a write that came before would not be held to a unique one."""
        pauses = backoff(maximum=1.0)
        while True:
            check_cancelled()
            try:
                await store.declare(indexes)
                break
            except UnavailableError as error:
                _log.warning("indexes_not_declared", reason=error.reason)
                await asyncio.sleep(next(pauses))
        yield cls(store, indexes)

    async def declare(self) -> None:
        """Say again and again that the indexes are declared here."""
        while goes_on():
            await asyncio.sleep(self._pause_s)
            try:
                await self._store.declare(self._indexes)
            except UnavailableError as error:
                _log.warning("indexes_not_declared", reason=error.reason)

    async def build(self, _lease: Lease) -> None:
        """Build whatever is not ready, by whomever it is declared; what was entered stays when this ends."""
        logged = 0
        while goes_on():
            if not await self._store.build(AT_ONCE):
                await asyncio.sleep(self._pause_s)
                continue
            entered = sum(standing.entered for standing in await self._building())
            if entered - logged >= _LOGGED_EVERY:
                logged = entered
                _log.info("index_building", entered=entered)

    async def health(self) -> Health:
        """Degraded while an index of this process cannot be made ready, with the reason; how far building is, in numbers."""
        building = [standing for standing in await self._building() if standing.index in self._indexes]
        problems = "; ".join(standing.problem for standing in building if standing.problem)
        entered = sum(standing.entered for standing in building)
        metrics = {"indexes": len(self._indexes), "building": len(building), "entered": entered}
        return Health(Status.DEGRADED if problems else Status.HEALTHY, problems, metrics)

    async def _building(self) -> list[IndexStanding]:
        return [standing for standing in await self._store.indexes() if not standing.is_ready]
