"""A decorator of a store that hands out the event of each write, for stores that keep no outbox."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from stylobate.health import Health
from stylobate.outbox import Event

from stylobate_state.model import Change, HistoryEntry, HistoryQuery, ListQuery, Outcome, StateKey, StateObject, Write, Written
from stylobate_state.store import StateStore
from stylobate_state.store.part import Part

_encode = msgspec.json.Encoder().encode


class AnnouncingStore:
    """Calls back with an event per write that happened, in the order of the writes, before the write is answered."""

    def __init__(self, store: StateStore, announce: Callable[[Event], None]) -> None:
        self._store = store
        self._announce = announce

    async def read(self, keys: Sequence[StateKey]) -> dict[StateKey, StateObject]:
        """See StateStore."""
        return await self._store.read(keys)

    async def write(self, writes: Sequence[Write]) -> list[Outcome]:
        """See StateStore."""
        outcomes = await self._store.write(writes)
        for write, outcome in zip(writes, outcomes, strict=True):
            if isinstance(outcome, Written):
                self._announce(_event(write, outcome))
        return outcomes

    async def list_states(self, query: ListQuery) -> Part[StateObject]:
        """See StateStore."""
        return await self._store.list_states(query)

    async def list_history(self, query: HistoryQuery) -> Part[HistoryEntry]:
        """See StateStore."""
        return await self._store.list_history(query)

    async def health(self) -> Health:
        """See StateStore."""
        return await self._store.health()


def _event(write: Write, written: Written) -> Event:
    key = write.key
    data: dict[str, Any] = {
        "namespace": key.namespace,
        "key": key.key,
        "version": written.version,
        "status": written.status,
        "data": msgspec.Raw(written.data),
        "actor": write.actor,
    }
    if write.change is Change.TRANSITIONED:
        data |= {"event": write.event, "from": write.from_status, "to": written.status}
    type_ = f"state.{key.namespace}.{write.change.value}"
    return Event(
        write.event_id,
        "state",
        type_,
        key.key,
        written.updated_at,
        key.tenant,
        _encode(data),
        write.actor,
        write.depth,
        write.traceparent,
    )
