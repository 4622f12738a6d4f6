"""The read path: strong reads from the store, single keys batched with whatever else is asked at the time."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from stylobate.batching import Batcher
from stylobate.errors import UnavailableError

from stylobate_state.errors import for_each
from stylobate_state.model import StateKey, StateObject
from stylobate_state.store import StateStore


class StateReader:
    """Reads what stands at keys, tombstones included."""

    def __init__(self, store: StateStore, batcher: Batcher[StateKey, StateObject | None]) -> None:
        self._store = store
        self._reads = batcher

    @classmethod
    @asynccontextmanager
    async def open(cls, store: StateStore) -> AsyncIterator["StateReader"]:
        """Make it usable."""

        async def flush(keys: list[StateKey]) -> Sequence[StateObject | Exception | None]:
            try:
                found = await store.read(list(dict.fromkeys(keys)))
            except UnavailableError as error:
                return for_each(error, len(keys))
            return [found.get(key) for key in keys]

        async with Batcher[StateKey, StateObject | None](flush) as batcher:
            yield cls(store, batcher)

    async def one(self, key: StateKey) -> StateObject | None:
        """Return what stands at the key, or None when nothing ever did."""
        return await self._reads.submit(key)

    async def many(self, keys: Sequence[StateKey]) -> dict[StateKey, StateObject]:
        """Return what stands at the keys. Several are a batch of their own."""
        if len(keys) != 1:
            return await self._store.read(keys)
        state = await self.one(keys[0])
        return {} if state is None else {keys[0]: state}
