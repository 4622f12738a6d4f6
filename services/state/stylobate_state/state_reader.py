"""The read path: strong reads from the store, single keys batched with whatever else is asked at the time."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from stylobate.batching import Batcher
from stylobate.errors import InvalidInputError, UnavailableError, Violation

from stylobate_state.errors import for_each
from stylobate_state.lanes import Lanes
from stylobate_state.model import MAX_BYTES, StateKey, StateRecord
from stylobate_state.store.port import StateStore

_AT_ONCE = 50


class StateReader:
    """Reads what stands at keys, tombstones included."""

    def __init__(self, store: StateStore, reads: Lanes[StateKey, StateRecord | None]) -> None:
        self._store = store
        self._reads = reads

    @classmethod
    @asynccontextmanager
    async def open(cls, store: StateStore, namespaces: Iterable[str]) -> AsyncIterator["StateReader"]:
        """Make it usable, for these namespaces."""

        def reads(part: StateStore) -> Batcher[StateKey, StateRecord | None]:
            async def flush(keys: list[StateKey]) -> Sequence[StateRecord | Exception | None]:
                try:
                    found = await part.read(list(dict.fromkeys(keys)))
                except UnavailableError as error:
                    return for_each(error, len(keys))
                return [found.get(key) for key in keys]

            return Batcher(flush, max_size=part.most_at_once)

        async with Lanes(store, namespaces, reads) as lanes:
            yield cls(store, lanes)

    async def one(self, key: StateKey) -> StateRecord | None:
        """Return what stands at the key, or None when nothing ever did."""
        return await self._reads.of(key.namespace).submit(key)

    async def each(self, keys: Sequence[StateKey]) -> list[StateRecord | None]:
        """Return what stands at each key, together with what else is asked at the time."""
        return await asyncio.gather(*map(self.one, keys))

    async def many(self, keys: Sequence[StateKey]) -> dict[StateKey, StateRecord]:
        """Return what stands at the keys. Several are read apart, a few at a time, so that what is too much is never read whole.

        :raises InvalidInputError: they hold more than MAX_BYTES together.
        """
        if len(keys) == 1:
            state = await self.one(keys[0])
            return {} if state is None else {keys[0]: state}
        found: dict[StateKey, StateRecord] = {}
        total = 0
        for start in range(0, len(keys), _AT_ONCE):
            part = await self._store.read(keys[start : start + _AT_ONCE])
            total += sum(len(state.data) for state in part.values())
            if total > MAX_BYTES:
                detail = f"these objects hold more than {MAX_BYTES} bytes together; ask for fewer at a time"
                raise InvalidInputError(violations=[Violation("/keys", detail)])
            found |= part
        return found
