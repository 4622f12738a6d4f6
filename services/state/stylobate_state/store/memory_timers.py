"""Timers of objects in memory: looked for among the objects themselves."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from stylobate_state.model import StateKey, Timer, TimerStart
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.timers import DueTimer, DueTimers, Filled


class MemoryTimerStore:
    """A TimerStore over a MemoryStateStore. Fills take one step: there are never many objects."""

    def __init__(self, store: MemoryStateStore) -> None:
        self._store = store
        self._put_off: dict[tuple[StateKey, str, int], tuple[timedelta, int]] = {}
        self._filled: set[tuple[str, str, str]] = set()

    async def due(self, limit: int) -> DueTimers:
        now = self._store.clock()
        waiting = []
        for key, state in self._store.objects.items():
            for timer in state.timers:
                by, tries = self._put_off.get((key, timer.event, timer.since), (timedelta(), 0))
                if timer.at is not None:
                    waiting.append(DueTimer(key, timer.event, timer.since, state.owner, now - timer.at - by, tries))
        waiting.sort(key=lambda timer: (-timer.late, timer.key))
        due = [timer for timer in waiting if timer.late >= timedelta()][:limit]
        later = [-timer.late for timer in waiting if timer.late < timedelta()]
        return DueTimers(due, min(later, default=None))

    async def put_off(self, timers: Sequence[DueTimer], by: timedelta) -> None:
        for timer in timers:
            name = (timer.key, timer.event, timer.since)
            self._put_off[name] = (self._put_off.get(name, (timedelta(), 0))[0] + timer.late + by, timer.tries + 1)

    async def spend(self, timers: Sequence[DueTimer]) -> None:
        for timer in timers:
            state = self._store.objects[timer.key]
            kept = tuple(
                replace(item, at=None) if (item.event, item.since) == (timer.event, timer.since) else item
                for item in state.timers
            )
            self._store.objects[timer.key] = replace(state, timers=kept)

    async def fill(self, namespace: str, status: str, start: TimerStart, limit: int) -> Filled:
        del limit
        name = (namespace, status, start.event)
        count = 0
        for key, state in self._store.objects.items():
            is_asked = key.namespace == namespace and state.status == status and not state.is_deleted and name not in self._filled
            if is_asked and all(timer.event != start.event for timer in state.timers):
                timer = Timer(start.event, self._store.clock() + start.after, state.version)
                self._store.objects[key] = replace(state, timers=(*state.timers, timer))
                count += 1
        self._filled.add(name)
        return Filled(count, is_done=True)

    async def forget_fills(self, namespace: str, declared: Sequence[tuple[str, str]]) -> None:
        self._filled = {name for name in self._filled if name[0] != namespace or name[1:] in declared}
