"""The port to what keeps state objects and their history."""

from collections.abc import Sequence
from typing import Protocol

from stylobate.health import Health

from stylobate_state.model import HistoryEntry, HistoryQuery, ListQuery, StateKey, StateRecord, Write, WriteOutcome
from stylobate_state.store.part import Part


class StateStore(Protocol):
    """Keeps objects and, with each change, the event that tells of it: the events of a key are its history.

    Every method raises DatabaseUnavailableError (with ``retry_after``) while what it keeps cannot be reached. Tenants
    never see each other: the tenant is part of every key and query.
    """

    async def read(self, keys: Sequence[StateKey]) -> dict[StateKey, StateRecord]:
        """Return what stands at the keys: the newest committed version, tombstones included.

        Keys at which nothing ever stood are missing. A key may be given twice.
        """

    async def write(self, writes: Sequence[Write]) -> list[WriteOutcome]:
        """Compare and set each, with its event, in one atomic step; answer in the order of the writes.

        A key may stand in it once only. A write whose expectation does not hold is refused and changes nothing; its
        neighbours are not touched by that. Writes of one key are serial over all processes, versions and events of it
        come in the same order without gaps, and two batches never wait for each other in a circle. One whose idempotency key is
        taken by another call is answered with Taken; the answer of one that was written is kept with it.

        :raises StateDataInvalidError: one of them cannot be kept; then nothing of the batch was written.
        :raises DatabaseUnavailableError: not known whether it was written.
        """

    async def list_states(self, query: ListQuery) -> Part[StateRecord]:
        """Return living objects by key in code point order, within the bounds of the query."""

    async def list_history(self, query: HistoryQuery) -> Part[HistoryEntry]:
        """Return what happened to a key, newest first, within the bounds of the query; empty for a key never written."""

    async def health(self) -> Health:
        """Say how the store is. Never raises for what it reports."""
