"""A transaction over what is kept in memory: what adapters in memory take where those of PostgreSQL take a connection."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Self


class MemoryTransaction:
    """Changes that happen together at the end, or not at all when it ends with an error."""

    def __init__(self) -> None:
        self._changes: list[Callable[[], None]] = []
        self._held: set[asyncio.Lock] = set()
        self._locks = ExitStack()

    @classmethod
    @asynccontextmanager
    async def begin(cls) -> AsyncIterator[Self]:
        """Give a transaction; commit at the end, forget after an error."""
        transaction = cls()
        with transaction._locks:
            yield transaction
            for change in transaction._changes:
                change()

    def on_commit(self, change: Callable[[], None]) -> None:
        """Make a change when the transaction is committed, after those that were asked for before. It must not fail."""
        self._changes.append(change)

    def on_end(self, release: Callable[[], None]) -> None:
        """Call this when the transaction has ended, however it did."""
        self._locks.callback(release)

    async def hold(self, lock: asyncio.Lock) -> None:
        """Wait for a lock and keep it until the transaction ends; one that it holds is simply kept."""
        if lock not in self._held:
            await lock.acquire()
            self._held.add(lock)
            self._locks.callback(lock.release)
