"""A list that stands in a database: followed by each process, and told to everyone who watches it there."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from time import monotonic
from typing import Generic, TypeVar

from stylobate.errors import UnavailableError
from stylobate.logs import get_logger
from stylobate.stopping import goes_on

E = TypeVar("E")
_STALE_S = 5.0
LOOK_EVERY = timedelta(milliseconds=500)
SAY_EVERY = timedelta(seconds=1)
_log = get_logger("app")


class Following(Generic[E]):
    """The looks into the database, and who is told of what they find.

    :param what: names the list in the log, e.g. ``bans``.
    :param key: what an entry is known by: a later one of the same key takes its place.
    :param look_every: the longest time between two looks; :attr:`due` brings the next one at once.
    :param say_every: the longest time in which a watcher is told nothing.
    """

    def __init__(
        self,
        what: str,
        key: Callable[[E], Hashable],
        *,
        look_every: timedelta = LOOK_EVERY,
        say_every: timedelta = SAY_EVERY,
    ) -> None:
        self._what = what
        self._key = key
        self._look_every_s = look_every.total_seconds()
        self._say_every_s = say_every.total_seconds()
        self._looked_at = -float("inf")
        self._watchers: set[Watcher[E]] = set()
        self.due = asyncio.Event()

    async def run(self, look: Callable[[], Awaitable[None]]) -> None:
        """Look, forever. A look that fails with UnavailableError is logged, once until one succeeds."""
        failed = False
        while goes_on():
            self.due.clear()
            try:
                await look()
            except UnavailableError as error:
                if not failed:
                    _log.warning(f"{self._what}_not_read", error=str(error))
                failed = True
            else:
                failed = False
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look_every_s):
                    await self.due.wait()

    def looked(self, asked_at: float) -> None:
        """Note that the database answered what was asked then (seconds of ``monotonic``)."""
        self._looked_at = asked_at

    @property
    def age(self) -> timedelta:
        """How long ago the next look should have been; zero while looks succeed."""
        return timedelta(seconds=max(0.0, monotonic() - self._looked_at - self._look_every_s))

    @property
    def is_stale(self) -> bool:
        """Whether no look has succeeded for some seconds."""
        return monotonic() - self._looked_at > _STALE_S

    @property
    def watchers(self) -> int:
        """How many watch."""
        return len(self._watchers)

    def tell(self, entries: Iterable[E]) -> None:
        """Wake everyone who watches, with these entries (or none: something beside the list has changed)."""
        news = {self._key(entry): entry for entry in entries}
        for watcher in self._watchers:
            watcher.give(news)

    @contextmanager
    def watcher(self) -> "Iterator[Watcher[E]]":
        """Return one who is told from now on, until the block ends."""
        watcher = Watcher[E](self._say_every_s)
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)


class Watcher(Generic[E]):
    """What one watcher has still to be told. Unbounded only as the list is: an entry stands once."""

    def __init__(self, say_every_s: float) -> None:
        self._say_every_s = say_every_s
        self._some = asyncio.Event()
        self._news: dict[Hashable, E] = {}

    def give(self, news: dict[Hashable, E]) -> None:
        """Add what is new; of entries with the same key the last one counts."""
        self._news.update(news)
        self._some.set()

    async def news(self) -> tuple[E, ...]:
        """Return what is new, at the latest after the time in which something is said; then it may be nothing."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._say_every_s):
                await self._some.wait()
        entries = tuple(self._news.values())
        self._news.clear()
        self._some.clear()
        return entries
