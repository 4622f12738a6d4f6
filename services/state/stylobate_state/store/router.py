"""One store made of several: who knows which namespace is kept where."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import ClassVar

from stylobate.health import Health, Status

from stylobate_state.index import Index
from stylobate_state.model import (
    HistoryEntry,
    HistoryQuery,
    Indexed,
    IndexQuery,
    IndexStanding,
    ListQuery,
    Scan,
    StateKey,
    StateRecord,
    TooMany,
    Write,
    WriteOutcome,
    grouped,
)
from stylobate_state.store.part import Part
from stylobate_state.store.port import StateStore


class StoreRouter:
    """A StateStore. Indexes are those of the first one; who keeps those of another one asks it.

    :param durable: keeps every namespace that is not among the others.
    :param apart: by namespace; several may be kept by one.
    """

    has_events: ClassVar[bool] = True
    most_at_once: ClassVar[int] = 256

    def __init__(self, durable: StateStore, apart: Mapping[str, StateStore]) -> None:
        self._durable = durable
        self._apart = apart

    def part(self, namespace: str) -> StateStore:
        return self._apart.get(namespace, self._durable)

    async def read(self, keys: Sequence[StateKey]) -> dict[StateKey, StateRecord]:
        parts: dict[StateStore, list[StateKey]] = {}
        for key in keys:
            parts.setdefault(self.part(key.namespace), []).append(key)
        found = await asyncio.gather(*(store.read(some) for store, some in parts.items()))
        return {key: state for one in found for key, state in one.items()}

    async def write(self, writes: Sequence[Write]) -> list[WriteOutcome]:
        """See StateStore; but what goes to several stores is not one step; a group must go to one."""
        batches = [
            (store, [write for group in groups for write in group]) for store, groups in groupby(grouped(writes), self._of_group)
        ]
        return [outcome for store, batch in batches for outcome in await store.write(batch)]

    def _of_group(self, group: Sequence[Write]) -> StateStore:
        store, *others = {self.part(write.key.namespace) for write in group}
        if others:
            raise AssertionError("a group cannot be written to several stores")
        return store

    async def list_states(self, query: ListQuery) -> Part[StateRecord]:
        return await self.part(query.namespace).list_states(query)

    async def scan(self, namespace: str, after: StateKey | None, most: int) -> Scan:
        return await self.part(namespace).scan(namespace, after, most)

    async def query(self, query: IndexQuery) -> Part[Indexed] | TooMany | None:
        return await self.part(query.index.namespace).query(query)

    async def count(self, query: ListQuery | IndexQuery) -> int | None:
        namespace = query.index.namespace if isinstance(query, IndexQuery) else query.namespace
        return await self.part(namespace).count(query)

    async def declare(self, indexes: Sequence[Index]) -> None:
        await self._durable.declare(indexes)

    async def indexes(self) -> Sequence[IndexStanding]:
        return await self._durable.indexes()

    async def build(self, most: int) -> bool:
        return await self._durable.build(most)

    async def list_history(self, query: HistoryQuery) -> Part[HistoryEntry]:
        return await self.part(query.key.namespace).list_history(query)

    async def version_before(self, key: StateKey, time: datetime) -> int:
        return await self.part(key.namespace).version_before(key, time)

    async def owner_before(self, key: StateKey, version: int) -> str | None:
        return await self.part(key.namespace).owner_before(key, version)

    async def health(self) -> Health:
        """Say how the durable store is; without the others it is degraded: what they keep is not served."""
        durable, *others = await asyncio.gather(self._durable.health(), *(store.health() for store in self._apart.values()))
        away = [name for name, health in zip(self._apart, others, strict=True) if health.status is not Status.HEALTHY]
        if not away:
            return durable
        said = f"not served: {', '.join(away)}: {others[0].details}"
        status = Status.DEGRADED if durable.status is Status.HEALTHY else durable.status
        return Health(status, "; ".join(filter(None, (durable.details, said))), durable.metrics)
