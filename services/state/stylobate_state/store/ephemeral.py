"""What stores of ephemeral namespaces have in common: what they keep nothing for, and how they keep data."""

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

import msgspec

from stylobate_state.errors import StateDataInvalidError, StateEphemeralError, StateQueryNotIndexedError
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
    TooMany,
)
from stylobate_state.store.part import Part


def as_kept(document: bytes) -> bytes:
    """Return the text of a document without needless white space, else as it was sent. Raises StateDataInvalidError."""
    try:
        return msgspec.json.format(document.decode(), indent=0).encode()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StateDataInvalidError.at("", f"cannot be kept: {error}") from None


def check_list(query: ListQuery) -> None:
    """Raise StateQueryNotIndexedError for a list by status: nothing leads to its objects."""
    if query.status:
        raise StateQueryNotIndexedError.by_status(query.namespace)


class EphemeralStore:
    """The part of a StateStore without history and indexes: it has none, and says so where it is asked for any."""

    has_events: ClassVar[bool] = False
    most_at_once: ClassVar[int] = 32
    """While Valkey works at one batch this process makes the next; a call costs little beside what it carries."""

    async def scan(self, namespace: str, after: StateKey | None, most: int) -> Scan:
        """Raise StateEphemeralError: what is never kept for long is neither moved to another schema nor looked after."""
        del after, most
        raise StateEphemeralError(namespace, "schema versions, and nothing to look after")

    async def query(self, query: IndexQuery) -> Part[Indexed] | TooMany | None:
        """Return None: there is no index that could be ready."""
        del query
        return None

    async def declare(self, indexes: Sequence[Index]) -> None:
        """Take none: the loader refuses indexes of an ephemeral namespace."""
        if indexes:
            raise AssertionError("an ephemeral namespace has no indexes")

    async def indexes(self) -> Sequence[IndexStanding]:
        """Return none."""
        return ()

    async def build(self, most: int) -> bool:
        """Have nothing to do."""
        del most
        return False

    async def list_history(self, query: HistoryQuery) -> Part[HistoryEntry]:
        """Raise StateEphemeralError."""
        raise StateEphemeralError(query.key.namespace, "history")

    async def version_before(self, key: StateKey, time: datetime) -> int:
        """Raise StateEphemeralError."""
        del time
        raise StateEphemeralError(key.namespace, "history")

    async def owner_before(self, key: StateKey, version: int) -> str | None:
        """Raise StateEphemeralError."""
        del version
        raise StateEphemeralError(key.namespace, "history")
