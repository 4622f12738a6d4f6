"""One hook on one partition: its events in order, each until it is dealt with or its subject stands aside."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from stylobate.hooks.aside import Aside, Run
from stylobate.hooks.port import HookStore, Move, Place
from stylobate.hooks.runs import Runs, text_of
from stylobate.hooks.verdict import Verdict, verdict_on
from stylobate.outbox import LoggedEvent
from stylobate.stopping import end, goes_on

_CAPACITY = 64
SUBJECTS_ASIDE = 32
"""How many subjects of a partition may stand aside; the next one that fails holds its partition up."""
EVENTS_ASIDE = 16_384
"""How many events of a partition may stand aside."""


class Mover(Protocol):
    """Moves positions on; many at once share a statement (a Batcher over :meth:`HookStore.move`)."""

    def submit(self, item: Move) -> Awaitable[bool]:
        """Move one on; False when a newer lease has taken over."""


Spawn = Callable[[Coroutine[Any, Any, None]], object]


class Worker:
    """Runs a hook's events of one partition: first the run, then the move of the position (at least once).

    The position is behind every event that was dealt with or stands aside. A subject whose run fails, or is long, stands
    aside, and later events of that subject behind it; so its order holds, and the other subjects go on.
    """

    def __init__(
        self,
        place: Place,
        number: int,
        *,
        runs: Runs,
        store: HookStore,
        mover: Mover,
        spawn: Spawn,
    ) -> None:
        self.place = place
        self.number = number
        """The position as stored."""
        self.is_running = False
        self.is_blocked = False
        """Whether an event was turned away for want of room."""
        self._runs = runs
        self._store = store
        self._mover = mover
        self._spawn = spawn
        self._events: deque[LoggedEvent] = deque()
        self._asides: dict[tuple[str, str], Aside] = {}
        self._room_aside = asyncio.Event()

    def offer(self, logged: LoggedEvent) -> bool:
        """Take the next event; False when there is no room."""
        if len(self._events) >= _CAPACITY:
            self.is_blocked = True
            return False
        self._events.append(logged)
        return True

    @property
    def pending(self) -> int:
        """How many events wait in memory or are under way; those that stand aside not counted."""
        return len(self._events)

    @property
    def aside(self) -> int:
        """How many events stand aside."""
        return sum(aside.count for aside in self._asides.values())

    @property
    def age_s(self) -> float:
        """The age of the oldest event not dealt with; 0 when there is none."""
        waiting = (datetime.now(UTC) - self._events[0].event.time).total_seconds() if self._events else 0.0
        return max(waiting, *(aside.age_s for aside in self._asides.values()), 0.0)

    def resume(self, subjects: Mapping[tuple[str, str], int]) -> None:
        """Go on with the subjects that stand aside already, and how many events each has."""
        for key, count in subjects.items():
            self._begin(key, count, None)

    async def run(self, on_room: Callable[[], None]) -> None:
        """Deal with what was taken, until nothing is left.

        :param on_room: called when there is room again after an event was turned away.
        :raises OvertakenError: when another process goes on with it.
        """
        while self._events and goes_on():
            await self._deal_with(self._events[0])
            self._events.popleft()
            if self.is_blocked and len(self._events) <= _CAPACITY // 2:
                self.is_blocked = False
                on_room()

    async def skip_to(self, number: int) -> None:
        """Move the position over events that do not concern the hook; only while the worker is idle."""
        if await self._mover.submit(Move(self.place, number)):
            self.number = max(self.number, number)

    async def _deal_with(self, logged: LoggedEvent) -> None:
        event = logged.event
        key = (event.tenant, event.subject)
        if key in self._asides:
            await self._put_aside(key, logged, None)
            return
        run: Run = asyncio.create_task(self._runs.once(event))
        try:
            await asyncio.wait((run,), timeout=self._runs.patience.aside_after.total_seconds())
            while not run.done() or run.result() is not None:
                if run.done() and (error := run.result()) is not None and verdict_on(error) is Verdict.NEVER:
                    await self._bury(logged, error)
                    return
                if self._has_room_aside():
                    await self._put_aside(key, logged, run)
                    return
                await self._until_room_aside(run)
        except BaseException:
            await end((run,))
            raise
        self._runs.done()
        await self._runs.surely(partial(self._mover.submit, Move(self.place, logged.number)))
        self.number = logged.number

    async def _bury(self, logged: LoggedEvent, error: BaseException) -> None:
        await self._runs.surely(partial(self._store.bury, self.place, logged, 1, text_of(error)))
        self._runs.dead(logged, error, 1)
        self.number = logged.number

    async def _put_aside(self, key: tuple[str, str], logged: LoggedEvent, run: Run | None) -> None:
        """Let an event stand aside: begun by its subject's first, joined by those that follow it."""
        while run is None and self.aside >= EVENTS_ASIDE and key in self._asides:
            await self._until_room_aside(None)
        aside = self._asides.get(key)
        if aside is not None:
            aside.count, aside.is_writing = aside.count + 1, True  # from here on it does not end
        await self._runs.surely(partial(self._store.put_aside, self.place, logged))
        self.number = logged.number
        if aside is not None:
            aside.is_writing = False
            aside.written.set()
        else:
            self._begin(key, 1, run)

    def _begin(self, key: tuple[str, str], count: int, run: Run | None) -> None:
        aside = self._asides[key] = Aside(self.place, *key, count, self._runs, self._store)
        self._spawn(self._stand_aside(key, aside, run))

    async def _stand_aside(self, key: tuple[str, str], aside: Aside, run: Run | None) -> None:
        try:
            await aside.run(run, self._room_aside.set)
        finally:
            del self._asides[key]
            self._room_aside.set()

    def _has_room_aside(self) -> bool:
        return len(self._asides) < SUBJECTS_ASIDE and self.aside < EVENTS_ASIDE

    async def _until_room_aside(self, run: Run | None) -> None:
        """Return when an event that stood aside was dealt with, or the run has ended."""
        self._room_aside.clear()
        room = asyncio.create_task(self._room_aside.wait())
        try:
            await asyncio.wait(
                (room, run) if run is not None and not run.done() else (room,), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            room.cancel()
