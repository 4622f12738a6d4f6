"""Projections in memory, beside a store in memory."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from stylobate_state.model import StateKey, Write
from stylobate_state.projection.errors import ProjectionRebuiltError
from stylobate_state.projection.model import Applied, Outcome, Projection, View
from stylobate_state.projection.outcomes import all_written
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.projections import Deletion


class MemoryProjectionStore:
    """A ProjectionStore in dictionaries. One process only."""

    def __init__(self, states: MemoryStateStore, clock: Callable[[], datetime]) -> None:
        self._states = states
        self._clock = clock
        self._known: dict[str, Projection] = {}
        self._numbers: dict[tuple[str, str, int], int] = {}
        self._stale: dict[str, set[tuple[str, str]]] = {}

    async def open(self, name: str) -> Projection:
        return self._known.setdefault(name, Projection(name, 1, "", self._clock()))

    async def standings(self) -> Sequence[Projection]:
        return [self._known[name] for name in sorted(self._known)]

    async def read(self, name: str, generation: int, tenant: str, keys: Collection[str]) -> Mapping[str, View]:
        self._current(name, generation)
        stale = self._stale.get(name, ())
        found = ((key, self._states.objects.get(StateKey(tenant, name, key))) for key in keys)
        return {
            key: View(key, state.version, None if (tenant, key) in stale else state.data, state.owner)
            for key, state in found
            if state is not None and not state.is_deleted
        }

    async def progress(self, name: str, generation: int, tenant: str) -> Mapping[int, int]:
        self._current(name, generation)
        return {place[2]: number for place, number in self._numbers.items() if place[:2] == (name, tenant)}

    async def apply(self, events: Applied, writes: Sequence[Write]) -> Outcome:
        self._current(events.projection, events.generation)
        places = {partition: (events.projection, events.tenant, partition) for partition in events.ranges}
        numbers = {partition: self._numbers.get(place, 0) for partition, place in places.items()}
        if any(numbers[partition] >= first for partition, (first, _) in events.ranges.items()):
            return Outcome(numbers, is_applied=False)
        outcomes = await self._states.write(writes) if writes else []
        if not all_written(outcomes):
            return Outcome(numbers, is_applied=False)
        numbers = {partition: last for partition, (_, last) in events.ranges.items()}
        self._numbers |= {places[partition]: number for partition, number in numbers.items()}
        self._stale.get(events.projection, set()).difference_update((write.key.tenant, write.key.key) for write in writes)
        return Outcome(numbers, is_applied=True)

    async def move(self, name: str, generation: int, position: str | None, error: str) -> None:
        known = self._current(name, generation)
        self._known[name] = replace(known, position=known.position if position is None else position, error=error)

    async def rebuild(self, name: str) -> Projection | None:
        known = self._known.get(name)
        if known is None:
            return None
        self._known[name] = Projection(name, known.generation + 1, "", self._clock(), is_rebuilding=True)
        self._numbers = {place: number for place, number in self._numbers.items() if place[0] != name}
        self._stale[name] = {
            (key.tenant, key.key) for key, state in self._states.objects.items() if key.namespace == name and not state.is_deleted
        }
        return self._known[name]

    async def sweep(self, name: str, generation: int, most: int, deletion: Deletion) -> int:
        known = self._current(name, generation)
        stale = self._stale.get(name, set())
        chosen = sorted(stale)[:most]
        objects = [self._states.objects[StateKey(tenant, name, key)] for tenant, key in chosen]
        await self._states.write([deletion(state.key, owner=state.owner, version=state.version) for state in objects])
        stale.difference_update(chosen)
        if not chosen:
            self._known[name] = replace(known, is_rebuilding=False)
        return len(chosen)

    def _current(self, name: str, generation: int) -> Projection:
        known = self._known.get(name)
        if known is None or known.generation != generation:
            raise ProjectionRebuiltError(name)
        return known
