"""The deny-list as this process knows it, and everyone who watches it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic

from stylobate.errors import DatabaseUnavailableError, UnavailableError
from stylobate.health import Health, Status
from stylobate.logs import get_logger
from stylobate.stopping import goes_on

from stylobate_auth.model import Revocation
from stylobate_auth.outages import Outages
from stylobate_auth.store.port import AuthStore

_STALE_S = 5.0
_log = get_logger("app")


@dataclass(frozen=True, slots=True)
class RevocationChange:
    """What a watcher is told: the whole list, additions, or nothing but that all is well."""

    entries: tuple[Revocation, ...]
    is_complete: bool
    access_version: int
    age: timedelta
    """Since the last look into the database; zero while looks succeed."""


class RevocationManager:
    """Follows the deny-list and the access version in the database, and passes both on.

    What this process revokes itself is passed on at once (:meth:`add`); what others revoke when the database notifies, and
    after a look every 500 ms at the latest. Nothing here needs Redis.

    :param clock: the time in UTC, for the expiry of entries.
    :param outages: is told of every look that was answered.
    """

    def __init__(
        self,
        store: AuthStore,
        *,
        clock: Callable[[], datetime],
        look_every: timedelta = timedelta(milliseconds=500),
        say_every: timedelta = timedelta(seconds=1),
        outages: Outages | None = None,
    ) -> None:
        self._store = store
        self._outages = outages or Outages()
        self._clock = clock
        self._look_every_s = look_every.total_seconds()
        self._say_every_s = say_every.total_seconds()
        self._entries: dict[tuple[str, int, str], Revocation] = {}
        self._access_version = 0
        self._since: datetime | None = None
        self._looked_at = -float("inf")
        self._due = asyncio.Event()
        self._watchers: set[_Watcher] = set()

    async def run(self) -> None:
        """Follow the database, forever."""
        async with self._store.listen(self._due.set):
            failed = False
            while goes_on():
                self._due.clear()
                failed = await self._try(failed=failed)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._look_every_s):
                        await self._due.wait()

    async def _try(self, *, failed: bool) -> bool:
        """Look; return whether that failed, and say so if the time before did not."""
        try:
            await self.look()
        except UnavailableError as error:
            if not failed:
                _log.warning("revocations_not_read", error=str(error))
            return True
        return False

    async def look(self) -> None:
        """Read what the database has and pass on what is new. Raises DatabaseUnavailableError."""
        asked_at = monotonic()
        page = await self._store.revocations(self._since)
        if self._since is not None and page.as_of < self._since:  # the database's clock was put back, or another one answers
            page = await self._store.revocations(None)
        self._since = page.as_of
        self._looked_at = asked_at
        self._outages.answered(asked_at)
        is_changed = page.access_version != self._access_version
        self._access_version = page.access_version
        now = self._clock()
        if any(entry.expires_at <= now for entry in self._entries.values()):
            self._entries = {key: entry for key, entry in self._entries.items() if entry.expires_at > now}
        self._pass_on(page.entries, even_if_empty=is_changed)

    def add(self, revocation: Revocation) -> None:
        """Pass on what was just committed here, without waiting for the next look."""
        self._pass_on([revocation])

    def current(self) -> RevocationChange:
        """Return the whole list. Raises DatabaseUnavailableError while it was never read."""
        if self._since is None:
            raise DatabaseUnavailableError(retry_after=timedelta(seconds=1))
        return RevocationChange(tuple(self._entries.values()), True, self._access_version, self._age())

    async def watch(self) -> AsyncGenerator[RevocationChange, None]:
        """Yield the whole list, then additions as they happen, and every second an empty change: all is well."""
        watcher = _Watcher()
        self._watchers.add(watcher)
        try:
            yield self.current()
            while goes_on():
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._say_every_s):
                        await watcher.some.wait()
                entries = watcher.take()
                yield RevocationChange(entries, False, self._access_version, self._age())
        finally:
            self._watchers.discard(watcher)

    async def health(self) -> Health:
        """Degraded while the database could not be looked into for some seconds."""
        metrics = {"revocations": float(len(self._entries)), "watchers": float(len(self._watchers))}
        age = monotonic() - self._looked_at
        if age > _STALE_S:
            return Health(Status.DEGRADED, "the deny-list in the database cannot be read", metrics)
        return Health(metrics=metrics)

    def _age(self) -> timedelta:
        return timedelta(seconds=max(0.0, monotonic() - self._looked_at - self._look_every_s))

    def _pass_on(self, entries: Iterable[Revocation], *, even_if_empty: bool = False) -> None:
        new = [entry for entry in entries if self._entries.get(entry.key) != entry]
        self._entries.update((entry.key, entry) for entry in new)
        if new or even_if_empty:
            for watcher in self._watchers:
                watcher.give(new)


class _Watcher:
    """What one watcher has still to be told. Unbounded only as the deny-list is: an entry stands once."""

    def __init__(self) -> None:
        self.some = asyncio.Event()
        self._entries: dict[tuple[str, int, str], Revocation] = {}

    def give(self, entries: Iterable[Revocation]) -> None:
        self._entries.update((entry.key, entry) for entry in entries)
        self.some.set()

    def take(self) -> tuple[Revocation, ...]:
        entries = tuple(self._entries.values())
        self._entries.clear()
        self.some.clear()
        return entries
