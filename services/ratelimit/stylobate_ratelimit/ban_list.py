"""The bans as this process knows them, and everyone who watches."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from time import monotonic

from stylobate.errors import DatabaseUnavailableError
from stylobate.following import LOOK_EVERY, SAY_EVERY, Following
from stylobate.health import Health, Status
from stylobate.identity.networks import Networks
from stylobate.stopping import goes_on
from stylobate.telemetry import gauge

from stylobate_ratelimit.ban import LONGEST, Ban, BanSubject
from stylobate_ratelimit.store.port import BanStore

_STORE_WITHIN_S = 3.0
"""What a watcher that comes before the store is opened waits for it: a start in order is not a fault."""


@dataclass(frozen=True, slots=True)
class BanChange:
    """What a watcher is told: the whole list, changes, or nothing but that all is well."""

    bans: tuple[Ban, ...]
    is_complete: bool
    now: datetime
    """The store's time: what is left of a ban counts from it."""
    age: timedelta
    """Since the last look into the store; zero while looks succeed."""


class BanList:
    """Follows the bans in the store, and passes changes on.

    What this process changes is passed on at once (:meth:`add`); what others change when the store notifies, and after a look
    every 500 ms at the latest. Limits are counted without any of it: the store is given to it whenever it can be had.

    :param clock: the time in UTC; how far the store's is from it is found out at each look.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime],
        look_every: timedelta = LOOK_EVERY,
        say_every: timedelta = SAY_EVERY,
    ) -> None:
        self._clock = clock
        self._known_store: BanStore | None = None
        self._is_opened = asyncio.Event()
        self._bans: dict[BanSubject, Ban] = {}
        self._networks = Networks()
        self._since: datetime | None = None
        self._ahead = timedelta(0)
        self._following = Following[Ban]("bans", lambda ban: ban.subject, look_every=look_every, say_every=say_every)
        self._gauge = gauge("ratelimit_bans", "Bans in force.")

    @property
    def store(self) -> BanStore:
        """The store. Raises DatabaseUnavailableError until it is there."""
        if self._known_store is None:
            raise DatabaseUnavailableError(retry_after=timedelta(seconds=1))
        return self._known_store

    def __len__(self) -> int:
        """Return how many are known."""
        return len(self._bans)

    def left(self, subject: BanSubject) -> timedelta | None:
        """Return what is left of a ban of the subject or of a network around it, at most :data:`LONGEST`; None: none holds."""
        found = [self._bans.get(subject), *map(self._bans.get, self.around(subject))]
        now = self._now
        return max((LONGEST if ban.until is None else ban.until - now for ban in found if ban and ban.holds(now)), default=None)

    def around(self, subject: BanSubject) -> list[BanSubject]:
        """Return the networks with a ban that an address lies in."""
        if subject.level != "ip" or not self._networks:
            return []
        return [subject._replace(subject=network) for network in self._networks.around(subject.subject)]

    def add(self, ban: Ban) -> None:
        """Pass on what was just committed here, without waiting for the next look."""
        self._pass_on([ban])

    def use(self, store: BanStore) -> None:
        """Take the store from now on."""
        self._known_store = store
        self._is_opened.set()

    async def run(self, store: BanStore) -> None:
        """Follow the store, forever."""
        self.use(store)
        async with store.listen(self._following.due.set):
            await self._following.run(self.look)

    async def look(self) -> None:
        """Read what changed in the store and pass it on. Raises DatabaseUnavailableError."""
        asked_at = monotonic()
        since = self._since
        page = await self.store.changes(since)
        if since is not None and page.as_of < since:  # the store's clock was put back, or another one answers
            page = await self.store.changes(since := None)
        self._since = page.as_of
        self._ahead = page.as_of - self._clock()
        self._following.looked(asked_at)
        known = {subject: ban for subject, ban in self._bans.items() if ban.holds(page.as_of)}
        if len(known) < len(self._bans):
            self._networks = Networks(subject.subject for subject in known if subject.level == "ip")
        self._bans = known
        there = {ban.subject for ban in page.bans}
        gone = [replace(ban, is_lifted=True) for subject, ban in known.items() if since is None and subject not in there]
        self._pass_on([*page.bans, *gone])

    def current(self) -> BanChange:
        """Return the whole list."""
        return BanChange(tuple(self._bans.values()), True, self._now, self._following.age)

    async def watch(self) -> AsyncGenerator[BanChange, None]:
        """Yield the whole list, then changes as they happen, and every second an empty one: all is well.

        :raises DatabaseUnavailableError: the list was never read.
        """
        if self._since is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_STORE_WITHIN_S):
                    await self._is_opened.wait()
            await self.look()
        with self._following.watcher() as watcher:
            yield self.current()
            while goes_on():
                bans = await watcher.news()
                yield BanChange(bans, False, self._now, self._following.age)

    async def health(self) -> Health:
        """Degraded while the store cannot be looked into: limits are counted, and nobody can be banned."""
        metrics = {"bans": float(len(self._bans)), "watchers": float(self._following.watchers)}
        if self._following.is_stale:
            return Health(Status.DEGRADED, "the bans in the database cannot be read", metrics)
        return Health(metrics=metrics)

    @property
    def _now(self) -> datetime:
        return self._clock() + self._ahead

    def _pass_on(self, bans: Iterable[Ban]) -> None:
        new: list[Ban] = []
        for ban in bans:
            known = self._bans.get(ban.subject)
            if ban.holds(self._now):
                if ban != known:
                    self._bans[ban.subject] = ban
                    if ban.subject.level == "ip":
                        self._networks.add(ban.subject.subject)
                    new.append(ban)
            elif known is not None and known.started_at <= ban.started_at:
                del self._bans[ban.subject]
                new.append(ban)
        self._gauge.set(len(self._bans))
        if new:
            self._following.tell(new)
