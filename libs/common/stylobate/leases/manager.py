"""Taking, renewing and giving back leases; running work while one is held."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from stylobate.errors import UnavailableError
from stylobate.leases.port import LeaseStore
from stylobate.logs import get_logger
from stylobate.resilience import backoff
from stylobate.stopping import end, goes_on

_log = get_logger("app")


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to do the work of a name, for now."""

    name: str
    token: int
    """Higher than that of every holder before. A write that must not come late carries it, and is refused where a higher one
    was written."""


class LeaseManager:
    """Takes leases for this process, and keeps them while work is done. One manager per process and service."""

    def __init__(self, store: LeaseStore, holder: str, ttl: timedelta = timedelta(seconds=5)) -> None:
        """Use a store.

        :param holder: names this process, unlike any other: also unlike itself before a restart.
        :param ttl: how long a lease holds without being renewed; so long the work rests when a holder dies.
        """
        self._store = store
        self._holder = holder
        self._ttl = ttl
        self._ttl_s = ttl.total_seconds()
        self._held: dict[str, Lease] = {}

    @property
    def held(self) -> tuple[Lease, ...]:
        """The leases under which :meth:`run` works at the moment."""
        return tuple(self._held.values())

    async def acquire(self, name: str) -> Lease | None:
        """Take the lease, or return None while anybody holds it, this process included.

        :raises UnavailableError: without an answer.
        """
        token = await self._store.acquire(name, self._holder, self._ttl)
        return None if token is None else Lease(name, token)

    async def renew(self, lease: Lease) -> bool:
        """Hold it for another ttl from now; False when it was lost: run out, or taken over.

        :raises UnavailableError: without an answer; the lease may hold or not.
        """
        return await self._store.renew(lease.name, self._holder, lease.token, self._ttl)

    async def release(self, lease: Lease) -> None:
        """Let others have it at once. Releasing one that was lost changes nothing. Raises UnavailableError."""
        await self._store.release(lease.name, self._holder, lease.token)

    async def vacancy(self, name: str) -> str:
        """Return why nobody does the work of a name; empty while somebody holds the lease or it is just changing hands.

        :raises UnavailableError: without an answer.
        """
        standing = await self._store.standing(name)
        if standing is None:
            return "nobody ever took the lease"
        remaining = standing.remaining.total_seconds()
        if remaining > 2 * self._ttl_s:
            return f"the lease of {standing.holder} ends in {remaining:.0f} s, which is further ahead than leases last"
        if remaining < -2 * self._ttl_s:
            return f"the lease of {standing.holder} ended {-remaining:.0f} s ago, and nobody took it"
        return ""

    async def run(self, name: str, work: Callable[[Lease], Awaitable[None]]) -> None:
        """Do the work whenever the lease is to be had, forever.

        The work is cancelled as soon as the lease is lost, or may be lost because the database does not answer. It is begun
        again, under a new lease, after it returned or failed (with backoff). Ends only by being cancelled.
        """
        pauses = backoff(maximum=self._ttl_s)
        while goes_on():
            taken = asyncio.get_running_loop().time()
            try:
                lease = await self.acquire(name)
            except UnavailableError:
                await asyncio.sleep(next(pauses))
                continue
            if lease is None:
                await self._until_free(name)
                continue
            _log.info("lease_acquired", lease=name, fence=lease.token, holder=self._holder)
            if await self._work(lease, work, taken + self._ttl_s):
                pauses = backoff(maximum=self._ttl_s)
            await asyncio.sleep(next(pauses))

    async def _until_free(self, name: str) -> None:
        """Wait a fifth of a ttl, less when the lease runs out before: its holder may have died."""
        remaining = self._ttl_s / 5
        try:
            standing = await self._store.standing(name)
            if standing is not None and standing.remaining <= 2 * self._ttl:
                remaining = min(remaining, max(0.0, standing.remaining.total_seconds()))
        except UnavailableError:
            pass  # asked again soon
        await asyncio.sleep(remaining + random.uniform(0, self._ttl_s / 100))  # noqa: S311  spreads processes, hides nothing

    async def _work(self, lease: Lease, work: Callable[[Lease], Awaitable[None]], until: float) -> bool:
        """Do the work while the lease holds, at first until a time of the loop's clock; return whether it ended well."""
        task = asyncio.ensure_future(work(lease))
        self._held[lease.name] = lease
        try:
            await self._keep(lease, task, until)
        finally:
            await end((task,))
            del self._held[lease.name]
            await self._give_back(lease)
        if task.cancelled():
            return True
        error = task.exception()
        if error is not None:
            _log.error("leased_work_failed", lease=lease.name, exc_info=error)
        return error is None

    async def _keep(self, lease: Lease, task: "asyncio.Future[None]", until: float) -> None:
        """Renew until the work has ended or the lease may be lost."""
        loop = asyncio.get_running_loop()
        pause = self._pause_s()
        while goes_on():
            await asyncio.wait([task], timeout=min(pause, max(0.0, until - loop.time())))
            asked = loop.time()
            if task.done():
                return
            if asked >= until:
                break
            try:
                async with asyncio.timeout_at(until):
                    if not await self.renew(lease):
                        break
                until, pause = asked + self._ttl_s, self._pause_s()
            except (UnavailableError, TimeoutError):
                pause = self._ttl_s / 20  # it holds until then; ask again soon
        if goes_on():
            _log.warning("lease_lost", lease=lease.name, fence=lease.token, holder=self._holder)

    def _pause_s(self) -> float:
        """Return when to renew: about a third of a ttl from now, so that leases taken together are not renewed in step."""
        return self._ttl_s / 3 * random.uniform(0.7, 1.0)  # noqa: S311  spreads what is asked, hides nothing

    async def _give_back(self, lease: Lease) -> None:
        try:
            async with asyncio.timeout(1):
                await self.release(lease)
        except (UnavailableError, TimeoutError):
            _log.info("lease_left_to_expire", lease=lease.name, fence=lease.token)
