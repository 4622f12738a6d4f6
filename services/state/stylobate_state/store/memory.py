"""State objects in memory, with their events: for tests, and the plainest statement of what a store does."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from stylobate.database.memory import MemoryTransaction
from stylobate.health import Health
from stylobate.idempotency import IdempotencyLedger
from stylobate.idempotency.memory import MemoryIdempotencyLedger
from stylobate.outbox import Event, Outbox
from stylobate.outbox.memory import MemoryEventLog

from stylobate_state.change_event import event_of
from stylobate_state.errors import StateDataInvalidError
from stylobate_state.model import (
    Change,
    HistoryEntry,
    HistoryQuery,
    ListQuery,
    Refused,
    StateKey,
    StateRecord,
    Taken,
    Write,
    WriteOutcome,
    Written,
)
from stylobate_state.store.jsonb import as_jsonb
from stylobate_state.store.part import Part

Listed = TypeVar("Listed", StateRecord, HistoryEntry)


class MemoryStateStore:
    """A StateStore in dictionaries. One process only.

    :param clock: the time that objects and events carry.
    :param outbox: gets the event of each write. :param ledger: keeps the answers of those with an idempotency key.
    """

    def __init__(
        self,
        clock: Callable[[], datetime],
        outbox: Outbox[MemoryTransaction] | None = None,
        ledger: IdempotencyLedger[MemoryTransaction] | None = None,
    ) -> None:
        self._clock = clock
        self._ledger = ledger or MemoryIdempotencyLedger()
        self._outbox = outbox or MemoryEventLog("state", clock)
        self._objects: dict[StateKey, StateRecord] = {}
        self._history: dict[StateKey, list[HistoryEntry]] = {}

    async def read(self, keys: Sequence[StateKey]) -> dict[StateKey, StateRecord]:
        return {key: self._objects[key] for key in keys if key in self._objects}

    async def write(self, writes: Sequence[Write]) -> list[WriteOutcome]:
        try:
            kept = [as_jsonb(write.data) for write in writes]
        except ValueError:
            raise StateDataInvalidError.at("", "cannot be kept") from None
        async with MemoryTransaction.begin() as transaction:
            return [await self._write_in(transaction, write, data) for write, data in zip(writes, kept, strict=True)]

    async def list_states(self, query: ListQuery) -> Part[StateRecord]:
        found = [
            state
            for key, state in sorted(self._objects.items())
            if key.tenant == query.tenant
            and key.namespace == query.namespace
            and key.key > query.after
            and not state.is_deleted
            and query.status in {"", state.status}
            and query.owner in {None, state.owner}
        ]
        return _part(found, query.limit, query.max_bytes)

    async def list_history(self, query: HistoryQuery) -> Part[HistoryEntry]:
        entries = reversed(self._history.get(query.key, []))
        chosen = [e for e in entries if e.version >= query.since and (query.before is None or e.version < query.before)]
        return _part(chosen, query.limit, query.max_bytes)

    async def health(self) -> Health:
        """Memory is always there."""
        return Health(metrics={"objects": len(self._objects)})

    async def _write_in(self, transaction: MemoryTransaction, write: Write, data: bytes) -> WriteOutcome:
        """Write one; nothing waits here, so a batch is one step."""
        if write.claim is not None and not (await self._ledger.claim(transaction, [write.claim]))[0]:
            return Taken()
        outcome = self._write(write, data)
        if isinstance(outcome, Written):
            stream, version = write.key.namespace, outcome.version
            await self._outbox.append(transaction, [_event(write, outcome)], stream=stream, version=version)
            if write.claim is not None:
                await self._ledger.answer(transaction, [(write.claim, write.as_written(outcome))])
        return outcome

    def _write(self, write: Write, data: bytes) -> WriteOutcome:
        present = self._objects.get(write.key)
        live = present if present is not None and not present.is_deleted else None
        if not _holds(write, live):
            return Refused(live.version if live is not None else 0)
        now = self._clock()
        version = present.version + 1 if present is not None else 1
        state = StateRecord(
            key=write.key,
            version=version,
            status=_status(write, live),
            data=data,
            owner=write.owner,
            created_at=live.created_at if live is not None else now,
            updated_at=now,
            first_version=live.first_version if live is not None else version,
            is_deleted=write.change is Change.DELETED,
        )
        self._objects[write.key] = state
        self._history.setdefault(write.key, []).append(_entry(write, state))
        return Written(version, state.status, state.owner, state.created_at, now, state.first_version, data)


def _part(found: Sequence[Listed], limit: int, max_bytes: int) -> Part[Listed]:
    size = 0
    for count, item in enumerate(found):
        size += len(item.data)
        if count and (count == limit or size > max_bytes):
            return Part(found[:count], has_more=True)
    return Part(found, has_more=False)


def _holds(write: Write, live: StateRecord | None) -> bool:
    if write.expected == 0:
        return live is None
    return live is not None and live.owner == write.owner and write.expected in {None, live.version}


def _entry(write: Write, state: StateRecord) -> HistoryEntry:
    is_deletion = write.change is Change.DELETED
    from_status = {Change.CREATED: "", Change.TRANSITIONED: write.from_status}.get(write.change, state.status)
    return HistoryEntry(
        version=state.version,
        change=write.change,
        event=write.event,
        from_status=from_status,
        to_status="" if is_deletion else state.status,
        data=b"" if is_deletion else state.data,
        actor=write.actor,
        time=state.updated_at,
        event_id=write.event_id,
    )


def _status(write: Write, live: StateRecord | None) -> str:
    if write.status is not None:
        return write.status
    return live.status if live is not None else ""


def _event(write: Write, written: Written) -> Event:
    return event_of(
        write.key,
        write,
        version=written.version,
        status=written.status,
        data=written.data,
        actor=write.actor,
        event_id=write.event_id,
        time=written.updated_at,
    )
