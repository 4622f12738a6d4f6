"""The port to what keeps state objects and their history."""

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar, Protocol

from stylobate.health import Health

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
)
from stylobate_state.store.part import Part


class StateStore(Protocol):
    """Keeps objects and, with each change, the event that tells of it: the events of a key are its history.

    Every method raises DatabaseUnavailableError (with ``retry_after``) while what it keeps cannot be reached. Tenants
    never see each other: the tenant is part of every key and query.
    """

    has_events: ClassVar[bool]
    """Whether changes leave events, of which history, hooks and watches live. Where they do not, :meth:`list_history`,
    :meth:`version_before` and :meth:`owner_before` raise StateEphemeralError."""
    most_at_once: ClassVar[int]
    """Keys in one call of :meth:`read` or :meth:`write`, for what arrives together: more would sooner be done in two calls."""

    def part(self, namespace: str) -> "StateStore":
        """Return the store that keeps this namespace: itself, unless it is made of several."""

    async def read(self, keys: Sequence[StateKey]) -> dict[StateKey, StateRecord]:
        """Return what stands at the keys: the newest committed version, tombstones included.

        Keys at which nothing ever stood are missing. A key may be given twice.
        """

    async def write(self, writes: Sequence[Write]) -> list[WriteOutcome]:
        """Compare and set each, with its event, in one atomic step; answer in the order of the writes.

        A key may stand in it once only. A write whose expectation does not hold is refused and changes nothing; its
        neighbours are not touched by that, except those of its group: they are Withheld. Writes of one key are serial over all
        processes, versions and events of it come in the same order without gaps, and two batches never wait for each other in
        a circle. One whose idempotency key is taken by another call is answered with Taken, and so is its group; the answer of
        what was written is kept with it. Every declared index is kept in the same step; where another object has the values of
        a unique one, be it before the batch or as another of its group, the answer is NotUnique.

        :raises StateDataInvalidError: one of them cannot be kept; then nothing of the batch was written.
        :raises DatabaseUnavailableError: not known whether it was written.
        """

    async def list_states(self, query: ListQuery) -> Part[StateRecord]:
        """Return living objects by key in code point order, within the bounds of the query."""

    async def scan(self, namespace: str, after: StateKey | None, most: int) -> Scan:
        """Return which objects a namespace has, of every tenant, a part at a time and without their data.

        :param after: only what lies behind it; None: from the beginning. :param most: keys to look at.
        """

    async def query(self, query: IndexQuery) -> Part[Indexed] | TooMany | None:
        """Return living objects in the order of an index, within the bounds of the query; None where it is not ready.

        Where the query has an order of its own, they are in that one, as they stood at one moment.
        """

    async def count(self, query: ListQuery | IndexQuery) -> int | None:
        """Return how many objects the query finds, counted up to its limit; None where its index is not ready."""

    async def declare(self, indexes: Sequence[Index]) -> None:
        """Keep these indexes from now on, in every process: to be said again all along by who declares them.

        One of a namespace in which nothing was ever written is ready at once, others when :meth:`build` has been at it.
        """

    async def indexes(self) -> Sequence[IndexStanding]:
        """Return how far each index is that anybody declares or declared."""

    async def build(self, most: int) -> bool:
        """Enter some objects into an index that is not ready, and say whether there is more to do now.

        :param most: objects at a time.

        What was entered stays, whoever goes on. Removes those indexes that nobody has declared for a while.
        """

    async def list_history(self, query: HistoryQuery) -> Part[HistoryEntry]:
        """Return what happened to a key, newest first, within the bounds of the query; empty for a key never written.

        What it costs follows from what it returns, however long the history is.
        """

    async def version_before(self, key: StateKey, time: datetime) -> int:
        """Return the newest version of a key that was made before the time; 0: there was none."""

    async def owner_before(self, key: StateKey, version: int) -> str | None:
        """Return whose the object was that stood at the key below this version; None: there was none."""

    async def health(self) -> Health:
        """Say how the store is. Never raises for what it reports."""
