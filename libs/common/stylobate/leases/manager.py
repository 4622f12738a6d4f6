"""Taking, renewing and giving back leases; running work while one is held."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

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


class _Held:
    """A lease under which work is done."""

    def __init__(self, lease: Lease, until: float) -> None:
        self.lease = lease
        self.until = until
        """When it may be lost, by the loop's clock."""
        self.lost = asyncio.Event()


class LeaseManager:
    """Takes leases for this process, and keeps them while work is done. One manager per process and service.

    All that it holds for work is renewed together, by one statement.
    """

    def __init__(self, store: LeaseStore, holder: str, ttl: timedelta = timedelta(seconds=5)) -> None:
        """Use a store.

        :param holder: names this process, unlike any other: also unlike itself before a restart.
        :param ttl: how long a lease holds without being renewed; so long the work rests when a holder dies.
        """
        self._store = store
        self._holder = holder
        self._ttl = ttl
        self._ttl_s = ttl.total_seconds()
        self._held: dict[str, _Held] = {}
        self._renewing: asyncio.Task[None] | None = None

    @property
    def held(self) -> tuple[Lease, ...]:
        """The leases under which :meth:`run` works at the moment."""
        return tuple(held.lease for held in self._held.values())

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
        return bool(await self._store.renew(self._holder, {lease.name: lease.token}, self._ttl))

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
        held = self._held[lease.name] = _Held(lease, until)
        self._renewing = renewing = self._renewing or asyncio.create_task(self._renew_on(), name="leases")
        try:
            await self._watch(held, task, renewing)
        finally:
            await end((task,))
            del self._held[lease.name]
            if not self._held:
                self._renewing = None
                await end((renewing,))
            await self._give_back(lease)
        if task.cancelled():
            return True
        error = task.exception()
        if error is not None:
            _log.error("leased_work_failed", lease=lease.name, exc_info=error)
        return error is None

    async def _watch(self, held: _Held, task: "asyncio.Future[None]", renewing: asyncio.Task[None]) -> None:
        """Return when the work has ended or the lease may be lost."""
        loop = asyncio.get_running_loop()
        lost = asyncio.create_task(held.lost.wait())
        try:
            while goes_on() and not held.lost.is_set() and (left := held.until - loop.time()) > 0:
                ends: list[asyncio.Future[Any]] = [task, lost, renewing]
                await asyncio.wait(ends, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if task.done():
                    return
                if renewing.done():
                    renewing.result()  # raises: nobody else hears of it
        finally:
            lost.cancel()
        if goes_on():
            _log.warning("lease_lost", lease=held.lease.name, fence=held.lease.token, holder=self._holder)

    async def _renew_on(self) -> None:
        """Renew all that is held, again and again."""
        pause = self._pause_s()
        while goes_on():
            await asyncio.sleep(pause)
            try:
                await self._renew()
                pause = self._pause_s()
            except (UnavailableError, TimeoutError):
                pause = self._ttl_s / 20  # they hold for a while yet; ask again soon

    async def _renew(self) -> None:
        some = tuple(self._held.values())
        if not some:
            return
        asked = asyncio.get_running_loop().time()
        async with asyncio.timeout_at(max(asked + self._ttl_s / 20, min(held.until for held in some))):
            renewed = await self._store.renew(self._holder, {held.lease.name: held.lease.token for held in some}, self._ttl)
        for held in some:
            if held.lease.name in renewed:
                held.until = asked + self._ttl_s
            else:
                held.lost.set()

    def _pause_s(self) -> float:
        """Return when to renew: about a third of a ttl from now, so that services that began together do not ask in step."""
        return self._ttl_s / 3 * random.uniform(0.7, 1.0)  # noqa: S311  spreads what is asked, hides nothing

    async def _give_back(self, lease: Lease) -> None:
        try:
            async with asyncio.timeout(1):
                await self.release(lease)
        except (UnavailableError, TimeoutError):
            _log.info("lease_left_to_expire", lease=lease.name, fence=lease.token)
