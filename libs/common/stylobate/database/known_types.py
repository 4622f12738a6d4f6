"""The server's own types, asked for once in each process instead of once for each connection."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import asyncpg

_BUILT_IN = 10_000
"""Below it ids of types are the same on every server."""


class NoStatement(NamedTuple):
    """What the driver is told of the statement that it did not need: that it left no mark."""

    name: str = "none"


class KnownTypes:
    """What the driver has found out about types, by their ids; of those that every server has alike.

    The driver knows arrays of texts by itself. For all others it asks each connection anew, by a recursive query over the catalog
    that takes the server 10 to 20 ms and fills the caches of its process, which keeps them.
    """

    def __init__(self) -> None:
        self._rows: dict[int, asyncpg.Record] = {}

    def keep(self, rows: Iterable[asyncpg.Record]) -> None:
        """Keep what was found: each type behind those that it is made of."""
        for row in rows:
            if row["oid"] < _BUILT_IN:
                self._rows.setdefault(row["oid"], row)

    def of(self, types: Iterable[int]) -> Sequence[asyncpg.Record] | None:
        """Return what is known, where all of these types are."""
        return list(self._rows.values()) if all(oid in self._rows for oid in types) else None
