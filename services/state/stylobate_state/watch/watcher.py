"""One watch: a snapshot, then the changes behind it; first as the log has them, then as they come."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import timedelta

from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.outbox import EventLog, EventPattern, LoggedEvent, Position, PositionExpiredError, partition_of

from stylobate_state.fields import ALL_SEEN
from stylobate_state.model import Change, HistoryEntry, StateKey, StateRecord
from stylobate_state.people import People
from stylobate_state.state_reader import StateReader
from stylobate_state.store.port import StateStore
from stylobate_state.watch.feed import Feed, Subscription
from stylobate_state.watch.followed import EVERYTHING
from stylobate_state.watch.pages import Pages
from stylobate_state.watch.shown import Shown
from stylobate_state.watch.told import (
    ALL,
    Changed,
    FieldsUnknownError,
    ForgottenError,
    Gap,
    GapReason,
    Happened,
    Place,
    Snapshot,
    Told,
)
from stylobate_state.watch.view import View

_READ = 64
_AGAIN_S = 0.05
_UNKNOWN_EVERY_S = 5.0
"""Between snapshots for the sake of what an earlier release leaves out, while it goes on writing."""


class Watcher:
    """Tells one caller what happens, from a position on or from now on.

    **Nothing is missed and nothing is told twice.** The log's end is read before the snapshot, so what happens meanwhile lies
    behind that end; of what the snapshot shows already the log may still have the event behind it, and such versions are
    passed over. In the log events have numbers without gaps: whoever goes on from a position gets each event behind it once.

    **Rights are asked for with every portion that is told**, not with the request. Of an owner's objects those count that are
    the caller's now, from the version on that created them or handed them over, as in the history.
    """

    def __init__(
        self,
        view: View,
        *,
        log: EventLog,
        feed: Feed,
        store: StateStore,
        reader: StateReader,
        pages: Pages,
        access: AccessEvaluator,
        shown: Callable[[Sequence[StateRecord]], Awaitable[Sequence[StateRecord]]],
        opened: Callable[[StateKey, HistoryEntry], Awaitable[HistoryEntry]],
        check: Callable[[], float | None],
        quiet: timedelta,
    ) -> None:
        """Prepare.

        :param pages: of its snapshots. :param shown: makes of objects what readers see: data of today.
        :param opened: opens encrypted fields of what happened.
        :param check: raises StylobateError when the caller may not be connected any more; else the seconds for which it may.
        :param quiet: how long a reader goes without a sign of life.
        """
        self._view = view
        self._log = log
        self._feed = feed
        self._store = store
        self._reader = reader
        self._pages = pages
        self._access = access
        self._to_show = shown
        self._opened = opened
        self._check = check
        self._quiet_s = quiet.total_seconds()
        tenant, key = view.principal.tenant, view.key
        self._watched = (tenant, view.namespace, key)
        self._partitions = [partition_of(tenant, key)] if key else None
        self._types = [EventPattern.parse(f"state.{view.namespace}.*")]
        self._sight = ALL
        self._fields = ALL_SEEN
        self._people = People(are_shown=False, caller="")
        self._followed = EVERYTHING
        self._position = Position.origin()
        self._shown = Shown(log, tenant, view.namespace)
        self._subscription: Subscription | None = None
        self._is_doubted = False
        self._now = asyncio.get_running_loop().time
        self._told_at = self._now()
        self._unknown_at = float("-inf")

    def wake(self) -> None:
        """Have the caller's standing and rights looked at now."""
        self._is_doubted = True
        if self._subscription is not None:
            self._subscription.wake()

    async def run(self, position: str) -> AsyncGenerator[Told]:
        """Tell what happens; ends with the error that ends the watch.

        :param position: where an earlier one ended; empty: from now on, with a snapshot.
        :raises PositionInvalidError: it is none.
        :raises UnavailableError: the database does not answer; whoever comes back with the last position misses nothing.
        """
        place = Place.parse(position) if position else None
        self._check()
        await self._look()
        self._followed = await self._pages.begin(self._sight, self._fields)
        gap = None if place is None else await self._gap_at(place)
        if place is not None and gap is None:
            self._position = place.position
            yield self._place(), None  # the first message is soon there, whatever happens
        else:
            async for told in self._anew(gap):
                yield told
        while True:
            try:
                async with aclosing(self._follow()) as following:
                    async for told in following:
                        yield told
                gap = GapReason.RIGHTS_CHANGED
            except (PositionExpiredError, ForgottenError):
                gap = GapReason.POSITION_EXPIRED
            except FieldsUnknownError:
                gap = GapReason.FIELDS_UNKNOWN
                await asyncio.sleep(self._unknown_at + _UNKNOWN_EVERY_S - self._now())
                self._unknown_at = self._now()
            async for told in self._anew(gap):
                yield told

    async def _gap_at(self, place: Place) -> GapReason | None:
        """Return why a watch cannot go on from a place; None: it can."""
        if place.about != self._view.about:
            return GapReason.OTHER_WATCH
        if place.sight != self._sight.mark + self._fields.mark:
            return GapReason.RIGHTS_CHANGED
        try:
            await self._log.check(place.position, self._partitions)
        except PositionExpiredError:
            return GapReason.POSITION_EXPIRED
        return None

    def _place(self) -> str:
        """Return where to go on; empty as long as what the snapshot has shown may lie behind: who comes back gets another one."""
        return "" if self._shown else str(Place(self._sight.mark + self._fields.mark, self._view.about, self._position))

    # how things stand

    async def _anew(self, gap: GapReason | None) -> AsyncIterator[Told]:
        """Tell the gap if there is one, then the objects in parts as they stand; the position is where the log ended before."""
        self._followed = await self._pages.begin(self._sight, self._fields)
        self._position = await self._log.head()
        self._shown.forget()
        part, is_complete = 1, False
        while not is_complete:
            self._check()
            states, is_complete = await self._pages.next(lambda state: self._may_see(state, state.version))
            if gap is not None and part == 1:  # not before there is something to begin with
                yield "", Gap(gap)
            await self._shown.note(states, self._position)
            shown = [self._people.shows(self._fields.shows(state)) for state in await self._to_show(states)]
            yield self._place() if is_complete else "", Snapshot(shown, part, is_complete)
            part += 1

    # what happens

    async def _follow(self) -> AsyncGenerator[Told]:
        """Tell what happens behind the position. Returns when the caller sees more or less than before."""
        while True:
            subscription = self._subscription = await self._feed.subscribe(self._watched)
            try:
                while not (subscription.is_behind or self._has_reached(subscription.since)):
                    page = await self._log.read(self._position, self._partitions, self._types, _READ)
                    if not await self._is_same_sight():
                        return
                    async for told in self._tell(page.events):
                        yield told
                    if not page.events and self._position == page.position:
                        await asyncio.sleep(_AGAIN_S)  # the feed has yet to find out that the log was taken back
                    self._position = page.position
                while not subscription.is_behind:
                    await self._wait(subscription)
                    if not await self._is_same_sight():
                        return
                    async for told in self._tell(subscription.take()):
                        yield told
                        self._told_at = self._now()
                    if self._now() >= self._told_at + self._quiet_s:
                        self._advance(subscription)
                        yield self._place(), None
                        self._told_at = self._now()
            finally:
                self._subscription = None
                self._feed.leave(self._watched, subscription)

    def _has_reached(self, since: Position) -> bool:
        """Return whether nothing lies between the position and the beginning of the subscription."""
        if since.epoch != self._position.epoch:
            return False  # the read says what that means
        numbers, asked = self._position.numbers, self._partitions or range(len(since.numbers))
        return all(numbers[partition] >= since.numbers[partition] for partition in asked)

    async def _wait(self, subscription: Subscription) -> None:
        left, quiet_s = self._check(), max(0.0, self._told_at + self._quiet_s - self._now())
        if subscription.is_empty and not self._is_doubted:
            await subscription.wait(quiet_s if left is None else min(quiet_s, left))

    def _advance(self, subscription: Subscription) -> None:
        """Move on to where nothing concerned this watch."""
        reached = self._feed.reached(subscription)
        if reached is not None and reached.epoch == self._position.epoch:
            numbers = [max(pair) for pair in zip(reached.numbers, self._position.numbers, strict=True)]
            self._position = Position.of(numbers, reached.epoch)

    async def _is_same_sight(self) -> bool:
        """Return whether the caller sees what it saw before. Raises StylobateError where it may see nothing, or not be here."""
        self._is_doubted = False
        self._check()
        before = self._seen
        await self._look()
        return before == self._seen

    @property
    def _seen(self) -> tuple[object, ...]:
        """What the caller sees; filters for unknown owners are for those who are shown all of them."""
        return self._sight, self._fields, self._people if self._followed.seeks_owners else None

    async def _look(self) -> None:
        """Have decided what the caller may see now."""
        self._sight = await self._view.sight(self._access)
        self._fields = await self._view.fields.sight(self._access, self._view.principal, self._view.key)
        self._people = await self._view.people(self._access, self._sight)

    async def _tell(self, events: Sequence[LoggedEvent]) -> AsyncIterator[Told]:
        """Tell what of these events concerns the caller, each once; the position moves behind each."""
        news = []
        for logged in events:
            if logged.number > self._position.numbers[logged.partition] and logged.event.tenant == self._watched[0]:
                happened = Happened.of(logged)
                if self._view.key in {"", happened.key.key}:
                    news.append((logged, happened))
        standing = await self._standing([happened.key for _, happened in news])
        for logged, happened in news:
            self._position = self._position.advanced({logged.partition: logged.number})
            if self._shown.covers(happened):
                continue
            changed = await self._changed(happened, standing.get(happened.key))
            if changed is not None and changed.entry is not None and changed.entry.is_forgotten:
                raise ForgottenError
            if changed is not None:
                yield self._place(), changed

    async def _standing(self, keys: Sequence[StateKey]) -> dict[StateKey, StateRecord]:
        """Return how the objects stand now, where it matters whose they are."""
        if (self._sight.is_all and not self._fields.depends_on_owner) or not keys:
            return {}
        wanted = list(dict.fromkeys(keys))
        found = await asyncio.gather(*(self._reader.one(key) for key in wanted))
        return {state.key: state for state in found if state is not None}

    async def _changed(self, happened: Happened, standing: StateRecord | None) -> Changed | None:
        """Return what is told of something that happened; None: nothing."""
        key, entry = happened.key, happened.entry
        is_granted = self._sight.is_all or key.key in self._sight.keys
        if not is_granted and (standing is None or not self._may_see(standing, entry.version)):
            # not the caller's any more: whose it was hears that it is gone, and nothing of what it was
            leaves = entry.change in {Change.DELETED, Change.ASSIGNED}
            was_own = leaves and standing is not None and self._sight.is_owners and await self._was_own(key, entry.version)
            return Changed(key, entry.version, None) if was_own and self._held(happened) else None
        if self._hold(happened) or (entry.change is Change.DELETED and self._held(happened)):
            is_own = standing is not None and self._is_own(standing, entry.version)
            shown = self._fields.shows_entry(await self._opened(key, entry), is_own=is_own)
            return Changed(key, entry.version, self._people.shows_entry(shown))
        return Changed(key, entry.version, None) if self._held(happened) else None

    def _held(self, happened: Happened) -> bool:
        """Return whether the object was one of those that are followed before it happened."""
        return self._view.held(happened.entry) and self._followed.held(happened)

    def _hold(self, happened: Happened) -> bool:
        """Return whether it is one of them since. Raises ForgottenError, FieldsUnknownError."""
        return self._view.holds(happened.entry) and self._followed.hold(happened)

    def _may_see(self, standing: StateRecord, version: int) -> bool:
        """Return whether a version of the object that stands at a key now is the caller's to see."""
        sight = self._sight
        is_granted = sight.is_all or standing.key.key in sight.keys
        return is_granted or (sight.is_owners and self._is_own(standing, version))

    def _is_own(self, standing: StateRecord, version: int) -> bool:
        """Return whether a version of the object that stands at a key now is the caller's."""
        return standing.owner == self._view.principal.subject and version >= standing.first_version

    async def _was_own(self, key: StateKey, version: int) -> bool:
        """Return whether the object that left its owner at a version, deleted or handed over, had been the caller's."""
        return await self._store.owner_before(key, version) == self._view.principal.subject
