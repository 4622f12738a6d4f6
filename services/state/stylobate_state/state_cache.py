"""Copies of objects in this process, for who can do with a state that was true a moment ago."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from types import MappingProxyType

from stylobate.health import Health
from stylobate.outbox import LoggedEvent
from stylobate.stopping import goes_on
from stylobate.telemetry import counter, counts, gauge, histogram

from stylobate_state.model import StateKey, StateRecord
from stylobate_state.watch.feed import Feed

Read = Callable[[Sequence[StateKey]], Awaitable[Mapping[StateKey, StateRecord]]]
_OVERHEAD = 512
"""What a copy takes beside its data, in bytes; about."""
_STALE_AFTER_S = 3.0
"""The log is looked at every second at least: silence for longer means that it cannot be read."""
_UNUSED_S = 60.0
_MOST_HEARD = 10_000


@dataclass(frozen=True, slots=True)
class CacheUse:
    """How a read was answered."""

    hits: int
    """How many of the objects were at hand."""
    misses: int
    stale_s: float
    """For how long it has not been known what happened since; 0 while it is known."""


NO_USE = CacheUse(0, 0, 0.0)
"""No copy was asked for."""


class StateCache:
    """Keeps what was read, until an event tells of a later version. While the log cannot be read copies go on being given out.

    Only what stood at a key is kept, never that nothing did. While nobody uses it, it holds nothing and the log is left alone.
    """

    def __init__(self, feed: Feed, apart: Mapping[str, Feed] = MappingProxyType({}), *, max_bytes: int) -> None:
        """Keep nothing yet.

        :param feed: of the log. :param apart: by namespace, where its events are in another log.
        """
        self._feed = feed
        self._apart = apart
        self._max_bytes = max_bytes
        self._copies: dict[StateKey, StateRecord] = {}
        """Those used last at the end."""
        self._bytes = 0
        self._listening: set[Feed] = set()
        self._beginnings: dict[Feed, asyncio.Task[None]] = {}
        self._used_at = float("-inf")
        self._reads = 0
        self._heard: dict[StateKey, int] = {}
        """Versions that were told of while something is being read: what is read may be older."""
        self._epoch = 0
        """What a read of another one brings is not kept: it is not known what was told meanwhile."""
        reads = counts("state_cache_reads", "Objects asked for that need not be the newest.", ("outcome",))
        self._hits, self._misses, self._stale = map(reads.of, ("hit", "miss", "stale"))
        self._evictions = counter("state_cache_evictions", "Copies given up for want of room.", ())
        self._lag = histogram("state_cache_invalidation_seconds", "From a change to the end of its copy, in seconds.", ())
        gauge("state_cache_bytes", "What the copies take.", ()).set_function(lambda: float(self._bytes))
        gauge("state_cache_objects", "How many copies there are.", ()).set_function(lambda: float(len(self._copies)))

    async def many(self, keys: Sequence[StateKey], read: Read) -> tuple[dict[StateKey, StateRecord], CacheUse]:
        """Return what stands, or stood a moment ago, at the keys.

        :param read: gets what is not at hand.
        :raises DatabaseUnavailableError: one of them is not at hand, and cannot be read.
        """
        self._used_at = monotonic()
        feeds = {self._of(key) for key in keys} if self._apart else (self._feed,)
        for feed in feeds:
            if feed not in self._listening:
                await self._listen(feed)
        found = {key: copy for key in keys if (copy := self._copies.get(key)) is not None}
        for key, copy in found.items():
            self._copies[key] = self._copies.pop(key, copy)  # the newest use last
        silence_s = max((feed.silence_s for feed in {self._of(key) for key in found}), default=0.0)
        stale_s = silence_s if silence_s > _STALE_AFTER_S else 0.0
        missing = [key for key in keys if key not in found]
        (self._stale if stale_s else self._hits).count += len(found)
        self._misses.count += len(missing)
        use = CacheUse(len(found), len(missing), stale_s)
        if missing:
            self._reads += 1
            epoch = self._epoch
            try:
                new = await read(missing)
                for state in new.values() if epoch == self._epoch else ():
                    self._keep(state)
                found |= new
            finally:
                self._reads -= 1
                if not self._reads:
                    self._heard = {}
        return found, use

    async def run(self) -> None:
        """Let go of everything when nobody has asked for a minute; forever."""
        while goes_on():
            await asyncio.sleep(_UNUSED_S / 2)
            if self._listening and monotonic() - self._used_at > _UNUSED_S:
                for feed in tuple(self._listening):
                    feed.ignore(self)
                    self.lost(feed)

    async def health(self) -> Health:
        """Say how much is kept. Always healthy: it gives out what it has."""
        return Health(metrics={"objects": float(len(self._copies)), "bytes": float(self._bytes)})

    # what the feed tells

    def heard(self, logged: LoggedEvent) -> None:
        """Give up a copy that is older than what happened."""
        event = logged.event
        key = StateKey(event.tenant, event.type.split(".", 2)[1], event.subject)
        if self._reads or key in self._copies:
            version = int(event.value()["version"])
            if self._reads:
                self._heard[key] = version
                if len(self._heard) > _MOST_HEARD:
                    self._heard = {}
                    self._epoch += 1
            if (copy := self._copies.get(key)) is not None and copy.version < version:
                self._drop(key)
                self._lag.observe(max(0.0, (datetime.now(UTC) - event.time).total_seconds()))

    def lost(self, feed: Feed) -> None:
        """Give up everything: what happened is not known."""
        self._listening.discard(feed)
        self._copies, self._bytes = {}, 0
        self._epoch += 1

    def _of(self, key: StateKey) -> Feed:
        return self._apart.get(key.namespace, self._feed)

    async def _listen(self, feed: Feed) -> None:
        """Begin to listen, once for all who wait for it: who gives up waits for no answer of the database's."""
        beginning = self._beginnings.get(feed)
        if beginning is None:
            beginning = asyncio.get_running_loop().create_task(self._begin(feed), context=Context())
            self._beginnings[feed] = beginning
            beginning.add_done_callback(partial(self._has_begun, feed))
        await asyncio.shield(beginning)

    async def _begin(self, feed: Feed) -> None:
        await feed.listen(self)
        self._listening.add(feed)

    def _has_begun(self, feed: Feed, beginning: "asyncio.Task[None]") -> None:
        del self._beginnings[feed]
        if not beginning.cancelled():
            beginning.exception()  # told to who waits, if anybody still does

    def _keep(self, state: StateRecord) -> None:
        key = state.key
        known = self._copies.get(key)
        if state.version < max(self._heard.get(key, 0), known.version if known is not None else 0):
            return
        if known is not None:
            self._drop(key)
        self._copies[key] = state
        self._bytes += _OVERHEAD + len(state.data)
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._copies)))
            self._evictions.inc()

    def _drop(self, key: StateKey) -> None:
        self._bytes -= _OVERHEAD + len(self._copies.pop(key).data)
