"""State objects in memory, with their events: for tests, and the plainest statement of what a store does."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import ClassVar

from stylobate.database.memory import MemoryTransaction
from stylobate.health import Health
from stylobate.idempotency import IdempotencyLedger
from stylobate.idempotency.memory import MemoryIdempotencyLedger
from stylobate.outbox import Outbox
from stylobate.outbox.memory import MemoryEventLog

from stylobate_state.errors import StateDataInvalidError
from stylobate_state.index import Index
from stylobate_state.model import (
    Change,
    HistoryEntry,
    HistoryQuery,
    Indexed,
    IndexQuery,
    IndexStanding,
    ListQuery,
    Refused,
    Scan,
    StateKey,
    StateRecord,
    Taken,
    TooMany,
    Withheld,
    Write,
    WriteOutcome,
    Written,
    grouped,
    is_among,
    result_of,
)
from stylobate_state.store import deciding
from stylobate_state.store.jsonb import as_jsonb
from stylobate_state.store.memory_indexes import MemoryIndexes
from stylobate_state.store.part import Part, bounded
from stylobate_state.store.port import StateStore


class MemoryStateStore:
    """A StateStore in dictionaries. One process only.

    :param clock: the time that objects and events carry.
    :param outbox: gets the event of each write. :param ledger: keeps the answers of those with an idempotency key.
    """

    has_events: ClassVar[bool] = True
    most_at_once: ClassVar[int] = 256

    def __init__(
        self,
        clock: Callable[[], datetime],
        outbox: Outbox[MemoryTransaction] | None = None,
        ledger: IdempotencyLedger[MemoryTransaction] | None = None,
    ) -> None:
        self.clock = clock
        self._ledger = ledger or MemoryIdempotencyLedger()
        self._outbox = outbox or MemoryEventLog("state", clock)
        self.objects: dict[StateKey, StateRecord] = {}
        self.history: dict[StateKey, list[HistoryEntry]] = {}
        self._indexes = MemoryIndexes(self.objects)

    def part(self, namespace: str) -> "StateStore":
        del namespace
        return self

    async def read(self, keys: Sequence[StateKey]) -> dict[StateKey, StateRecord]:
        return {key: self.objects[key] for key in keys if key in self.objects}

    async def write(self, writes: Sequence[Write]) -> list[WriteOutcome]:
        kept = [replace(write, data=self.as_kept(write.data)) for write in writes]
        async with MemoryTransaction.begin() as transaction:
            return [outcome for group in grouped(kept) for outcome in await self._write_in(transaction, group)]

    async def list_states(self, query: ListQuery) -> Part[StateRecord]:
        return bounded(self._listed(query), query.limit, query.max_bytes)

    async def scan(self, namespace: str, after: StateKey | None, most: int) -> Scan:
        keys = sorted(key for key in self.objects if key.namespace == namespace and (after is None or key > after))
        found = [self.objects[key] for key in keys[:most]]
        versions = [(state.key, state.schema_version) for state in found if not state.is_deleted]
        return Scan(versions, len(found), keys[most - 1] if len(keys) > most else None)

    async def query(self, query: IndexQuery) -> Part[Indexed] | TooMany | None:
        found = self._indexes.found(query)
        if found is None or isinstance(found, TooMany):
            return found
        return bounded([Indexed(self.objects[key], place) for place, key in found], query.limit, query.max_bytes)

    async def count(self, query: ListQuery | IndexQuery) -> int | None:
        if isinstance(query, ListQuery):
            return min(len(self._listed(query)), query.limit)
        return self._indexes.count(query)

    async def declare(self, indexes: Sequence[Index]) -> None:
        self._indexes.declare(indexes)

    async def indexes(self) -> Sequence[IndexStanding]:
        return self._indexes.standings()

    async def build(self, most: int) -> bool:
        return self._indexes.build(most)

    def _listed(self, query: ListQuery) -> list[StateRecord]:
        return [
            state
            for key, state in sorted(self.objects.items())
            if key.tenant == query.tenant
            and key.namespace == query.namespace
            and key.key > query.after
            and not state.is_deleted
            and query.status in {"", state.status}
            and is_among(query, state.owner, key.key)
        ]

    async def list_history(self, query: HistoryQuery) -> Part[HistoryEntry]:
        entries = reversed(self.history.get(query.key, []))
        chosen = [
            entry
            for entry in entries
            if entry.version >= query.since
            and (query.before is None or entry.version < query.before)
            and query.actor in {"", entry.actor}
            and query.change in {None, entry.change}
        ]
        return bounded(chosen, query.limit, query.max_bytes)

    async def version_before(self, key: StateKey, time: datetime) -> int:
        entries = reversed(self.history.get(key, []))
        return next((entry.version for entry in entries if entry.time < time), 0)

    async def owner_before(self, key: StateKey, version: int) -> str | None:
        entries = reversed(self.history.get(key, []))
        named = {Change.CREATED, Change.ASSIGNED}
        return next((entry.owner for entry in entries if entry.version < version and entry.change in named), None)

    async def health(self) -> Health:
        """Memory is always there."""
        return Health(metrics={"objects": len(self.objects)})

    async def _write_in(self, transaction: MemoryTransaction, group: Sequence[Write]) -> list[WriteOutcome]:
        """Write what happens together; nothing waits here, so a batch is one step."""
        claim = group[0].claim
        if claim is not None and not (await self._ledger.claim(transaction, [claim]))[0]:
            return [Taken()] * len(group)
        states = {write.key: self._made(write) for write in group if self._holds(write)}
        refused = [self._refusal(write, states) for write in group]
        if any(refused):
            return [outcome or Withheld() for outcome in refused]
        self._indexes.enter([*states.values()])
        before = [self._live(write.key) for write in group]
        outcomes = [self._keep(write, states[write.key]) for write in group]
        for write, live, written in zip(group, before, outcomes, strict=True):
            await self.tell(transaction, write, states[write.key], live, written)
        if claim is not None:
            await self._ledger.answer(transaction, [(claim, result_of(group, outcomes))])
        return [*outcomes]

    def as_kept(self, data: bytes) -> bytes:
        """Return data as it is read from then on. Raises StateDataInvalidError."""
        try:
            return as_jsonb(data)
        except ValueError:
            raise StateDataInvalidError.at("", "cannot be kept") from None

    def next_version(self, present: StateRecord | None) -> int:
        """Return the version of a change of what stands there."""
        return present.version + 1 if present is not None else 1

    async def tell(
        self, transaction: MemoryTransaction, write: Write, state: StateRecord, before: StateRecord | None, written: Written
    ) -> None:
        """Write the change into the history and the outbox."""
        entry = _entry(write, state, before, self.clock())
        self.history.setdefault(write.key, []).append(entry)
        event = deciding.event(write, state, before, entry.time)
        await self._outbox.append(transaction, [event], stream=write.key.namespace, version=written.version)

    def _live(self, key: StateKey) -> StateRecord | None:
        return deciding.live(self.objects.get(key))

    def _holds(self, write: Write) -> bool:
        return deciding.holds(write, self.objects.get(write.key))

    def _refusal(self, write: Write, states: Mapping[StateKey, StateRecord]) -> WriteOutcome | None:
        """Return why it cannot be written as things stand.

        :param states: what it would leave, together with those that it happens with.
        """
        if write.key not in states:
            live = self._live(write.key)
            return Refused(live.version if live is not None else 0)
        return self._indexes.refusal(states[write.key], [*states.values()])

    def _made(self, write: Write) -> StateRecord:
        """Return the object as the write would leave it."""
        present = self.objects.get(write.key)
        return deciding.made(write, present, self.next_version(present), self.clock())

    def _keep(self, write: Write, state: StateRecord) -> Written:
        self.objects[write.key] = state
        return deciding.written(state)


def _entry(write: Write, state: StateRecord, before: StateRecord | None, now: datetime) -> HistoryEntry:
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
        time=now if write.change is Change.MIGRATED else state.updated_at,
        event_id=write.event_id,
        restored_from=write.restored_from,
        schema_version=write.schema_version,
        owner=state.owner if write.change in {Change.CREATED, Change.ASSIGNED} else "",
        previous_owner=before.owner if before is not None and write.change is Change.ASSIGNED else "",
    )
