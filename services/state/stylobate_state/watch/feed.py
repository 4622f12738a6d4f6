"""The end of the log, followed once for all who watch in this process."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from time import monotonic
from typing import Protocol

from stylobate.errors import UnavailableError
from stylobate.logs import get_logger
from stylobate.outbox import EventLog, LoggedEvent, Position, PositionExpiredError
from stylobate.outbox.pace import Pace
from stylobate.resilience import Interruption
from stylobate.stopping import goes_on

_LOOK = timedelta(milliseconds=150)
_REST_S = 0.002
"""Between two reads: what is written together is read together."""
_AGAIN_S = 0.2
"""After a read that failed."""
_FED_S = 1.0
"""So long after the relay of this process brought events nobody else need say that there are some."""
_PAGE = 512
_MOST, _MOST_BYTES = 64, 128 * 1024
"""Events that wait for one reader, and their bytes; a single one may have more."""
_log = get_logger("app")
Watched = tuple[str, str, str]
"""Tenant, namespace, key; an empty key: all of the namespace."""


class Subscription:
    """What happened since a position, for one reader. Of one that is too slow nothing is kept: it reads the log instead."""

    def __init__(self, since: Position) -> None:
        self.since = since
        """What waits here lies behind it."""
        self.is_behind = False
        """Whether the reader has to read the log and subscribe anew."""
        self._waiting: list[LoggedEvent] = []
        self._bytes = 0
        self._due = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def put(self, logged: LoggedEvent) -> None:
        """Let an event wait."""
        if self.is_behind:
            return
        size = len(logged.event.data) + len(logged.event.aside)
        if self._waiting and (len(self._waiting) >= _MOST or self._bytes + size > _MOST_BYTES):
            self.fall_behind()
            return
        self._waiting.append(logged)
        self._bytes += size
        self._due.set()

    def fall_behind(self) -> None:
        """Keep nothing, and say so."""
        self.is_behind = True
        self._waiting, self._bytes = [], 0
        self._due.set()

    def wake(self) -> None:
        """Let the reader look at what else concerns it."""
        self._due.set()

    async def wait(self, timeout_s: float) -> None:
        """Return when something waits, at a :meth:`wake`, or after the timeout."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._due.wait()

    def take(self) -> list[LoggedEvent]:
        """Return what waits, in order."""
        taken, self._waiting, self._bytes = self._waiting, [], 0
        self._due.clear()
        return taken


class Listener(Protocol):
    """Hears of every event of the log, as soon as it is read."""

    def heard(self, logged: LoggedEvent) -> None:
        """Take one; in the order of each partition, none left out. Must not wait."""

    def lost(self, feed: "Feed") -> None:
        """Take it that events of this feed were left out, and that nothing more is told of it."""


class Feed:
    """Hands out the events of the log to subscriptions, in its order, each once, and tells listeners of all of them.

    The relay brings them where it runs in this process (:meth:`offer`); elsewhere they are read, when there may be some
    (:meth:`wake`) and now and then. While nobody subscribes the log is left alone.
    """

    def __init__(self, log: EventLog, look_every: timedelta = _LOOK) -> None:
        self._log = log
        self._pace = Pace(look_every.total_seconds())
        self._position: Position | None = None
        self._due = asyncio.Event()
        self._fed_at = float("-inf")
        self._subscriptions: dict[Watched, set[Subscription]] = {}
        self._listeners: list[Listener] = []
        self._read_at = float("-inf")
        self._interruption = Interruption("watch_feed_interrupted")

    @property
    def silence_s(self) -> float:
        """For how long the log has not been read: what happened since is not known here."""
        return monotonic() - self._read_at

    async def listen(self, listener: Listener) -> None:
        """Tell a listener of everything that gets a number from now on, until :meth:`ignore`. Raises UnavailableError."""
        await self._begin()
        self._listeners.append(listener)
        self._due.set()

    def ignore(self, listener: Listener) -> None:
        """Tell it nothing more."""
        self._listeners.remove(listener)
        self._rest()

    async def subscribe(self, watched: Watched) -> Subscription:
        """Return a subscription from the end of the log on, to be given back with :meth:`leave`. Raises UnavailableError."""
        subscription = Subscription(await self._begin())
        self._subscriptions.setdefault(watched, set()).add(subscription)
        self._due.set()
        return subscription

    def leave(self, watched: Watched, subscription: Subscription) -> None:
        """Forget a subscription."""
        found = self._subscriptions[watched]
        found.discard(subscription)
        if not found:
            del self._subscriptions[watched]
        self._rest()

    async def _begin(self) -> Position:
        """Follow the log from its end on, if it is not followed yet."""
        if self._position is None:
            position = await self._log.head()
            if self._position is None:
                self._position, self._read_at = position, monotonic()
        return self._position

    def _rest(self) -> None:
        if not self._subscriptions and not self._listeners:
            self._position = None

    def reached(self, subscription: Subscription) -> Position | None:
        """Return up to where a subscription has got everything; None while something waits in it."""
        return self._position if subscription.is_empty and not subscription.is_behind else None

    def offer(self, events: Sequence[LoggedEvent]) -> None:
        """Take events that were numbered in this process just now."""
        self._fed_at = monotonic()
        if self._position is not None and not self._hand_out(events):
            self._due.set()

    def wake(self) -> None:
        """Say that the log may have grown. Safe to call often."""
        if monotonic() - self._fed_at > _FED_S:
            self._due.set()

    async def run(self) -> None:
        """Follow the log, forever."""
        while goes_on():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pace.pause_s if self._position is not None else None):
                    await self._due.wait()
            self._due.clear()
            try:
                await self._read()
            except UnavailableError as error:
                self._interruption.note(error=str(error))
                await asyncio.sleep(_AGAIN_S)
            else:
                if self._interruption.over():
                    _log.info("watch_feed_resumed")
                await asyncio.sleep(_REST_S)

    async def _read(self) -> None:
        """Read on to the end of the log."""
        while (position := self._position) is not None and goes_on():
            try:
                page = await self._log.read(position, limit=_PAGE)
            except PositionExpiredError:
                self._lose()
                return
            self._read_at = monotonic()
            if self._position is None or not self._hand_out(page.events):
                return
            if not page.events:
                return

    def _hand_out(self, events: Iterable[LoggedEvent]) -> bool:
        """Give events to who waits for them. False: one is missing before them, or they are of another epoch."""
        if self._position is None:
            return False
        numbers = list(self._position.numbers)
        try:
            for logged in events:
                here = numbers[logged.partition]
                if logged.number > here + 1:
                    return False
                if logged.number == here + 1:  # else it is known: brought, and read as well
                    self._pace.saw_something()
                    numbers[logged.partition] = logged.number
                    self._give(logged)
        finally:
            self._position = Position.of(numbers, self._position.epoch)
        return True

    def _give(self, logged: LoggedEvent) -> None:
        event = logged.event
        namespace = event.type.split(".", 2)[1]
        for listener in self._listeners:
            listener.heard(logged)
        for key in (event.subject, ""):
            for subscription in self._subscriptions.get((event.tenant, namespace, key), ()):
                subscription.put(logged)

    def _lose(self) -> None:
        """Begin anew at the end of a log that was taken back; who reads finds out by itself where it goes on."""
        self._position = None
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.lost(self)
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.fall_behind()
