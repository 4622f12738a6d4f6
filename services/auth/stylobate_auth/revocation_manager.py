"""The deny-list as this process knows it, and everyone who watches it."""

from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic

from stylobate.errors import DatabaseUnavailableError
from stylobate.following import LOOK_EVERY, SAY_EVERY, Following
from stylobate.health import Health, Status
from stylobate.stopping import goes_on

from stylobate_auth.model import Revocation
from stylobate_auth.outages import Outages
from stylobate_auth.store.port import AuthStore


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
        look_every: timedelta = LOOK_EVERY,
        say_every: timedelta = SAY_EVERY,
        outages: Outages | None = None,
    ) -> None:
        self._store = store
        self._outages = outages or Outages()
        self._clock = clock
        self._entries: dict[tuple[str, int, str], Revocation] = {}
        self._access_version = 0
        self._since: datetime | None = None
        self._following = Following[Revocation](
            "revocations", lambda entry: entry.key, look_every=look_every, say_every=say_every
        )

    async def run(self) -> None:
        """Follow the database, forever."""
        async with self._store.listen(self._following.due.set):
            await self._following.run(self.look)

    async def look(self) -> None:
        """Read what the database has and pass on what is new. Raises DatabaseUnavailableError."""
        asked_at = monotonic()
        page = await self._store.revocations(self._since)
        if self._since is not None and page.as_of < self._since:  # the database's clock was put back, or another one answers
            page = await self._store.revocations(None)
        self._since = page.as_of
        self._following.looked(asked_at)
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
        return RevocationChange(tuple(self._entries.values()), True, self._access_version, self._following.age)

    async def watch(self) -> AsyncGenerator[RevocationChange, None]:
        """Yield the whole list, then additions as they happen, and every second an empty change: all is well."""
        with self._following.watcher() as watcher:
            yield self.current()
            while goes_on():
                entries = await watcher.news()
                yield RevocationChange(entries, False, self._access_version, self._following.age)

    async def health(self) -> Health:
        """Degraded while the database could not be looked into for some seconds."""
        metrics = {"revocations": float(len(self._entries)), "watchers": float(self._following.watchers)}
        if self._following.is_stale:
            return Health(Status.DEGRADED, "the deny-list in the database cannot be read", metrics)
        return Health(metrics=metrics)

    def _pass_on(self, entries: Iterable[Revocation], *, even_if_empty: bool = False) -> None:
        new = [entry for entry in entries if self._entries.get(entry.key) != entry]
        self._entries.update((entry.key, entry) for entry in new)
        if new or even_if_empty:
            self._following.tell(new)
