"""State objects of an ephemeral namespace in memory: those of MemoryStateStore, for a time and without events."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from stylobate.database.memory import MemoryTransaction
from stylobate.idempotency import IdempotencyLedger

from stylobate_state.model import IndexQuery, ListQuery, StateKey, StateRecord, Write, WriteOutcome, Written
from stylobate_state.store.ephemeral import EphemeralStore, as_kept, check_list
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.part import Part

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


class MemoryEphemeralStore(EphemeralStore, MemoryStateStore):
    """A StateStore of one namespace, as RedisStateStore is one."""

    def __init__(
        self, clock: Callable[[], datetime], ttl: timedelta, ledger: IdempotencyLedger[MemoryTransaction] | None = None
    ) -> None:
        super().__init__(clock, ledger=ledger)
        self._ttl = ttl
        self._top = 0
        """The highest version there was."""

    async def read(self, keys: Sequence[StateKey]) -> dict[StateKey, StateRecord]:
        self._forget()
        return await super().read(keys)

    async def write(self, writes: Sequence[Write]) -> list[WriteOutcome]:
        self._forget()
        return await super().write(writes)

    async def list_states(self, query: ListQuery) -> Part[StateRecord]:
        check_list(query)
        self._forget()
        return await super().list_states(query)

    async def count(self, query: ListQuery | IndexQuery) -> int | None:
        if isinstance(query, IndexQuery):
            return None
        check_list(query)
        self._forget()
        return await super().count(query)

    def as_kept(self, data: bytes) -> bytes:
        return as_kept(data)

    def next_version(self, present: StateRecord | None) -> int:
        return present.version + 1 if present is not None else max((self.clock() - _EPOCH) // _US, self._top + 1)

    async def tell(
        self, transaction: MemoryTransaction, write: Write, state: StateRecord, before: StateRecord | None, written: Written
    ) -> None:
        """Tell nobody."""
        del transaction, write, state, before
        self._top = max(self._top, written.version)

    def _forget(self) -> None:
        """Remove what nobody has changed for the time."""
        oldest = self.clock() - self._ttl
        for key in [key for key, state in self.objects.items() if state.updated_at < oldest]:
            del self.objects[key]
