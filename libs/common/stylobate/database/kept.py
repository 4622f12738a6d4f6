"""Connections that were given back a moment ago: the next statement takes one without the pool's ways in and out."""

import asyncio
from typing import Any, cast

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from stylobate.database.connection import Connection

_FOR_S = 1.0
"""How long at most before all are given back to the pool, which has its own rules of when a connection is to end."""


class KeptConnections:
    """Connections of a pool that nobody uses, kept for a moment: a second at most since the first of them came.

    A way in and out of the pool takes 60 µs of CPU, twice what a small statement takes. The last that came is the first to go.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._kept: list[PoolConnectionProxy] = []
        self._timer: asyncio.TimerHandle | None = None
        self._giving: asyncio.Task[None] | None = None

    def take(self) -> PoolConnectionProxy | None:
        """Return one that still stands, or None."""
        while self._kept:
            proxy = self._kept.pop()
            if _stands(proxy):
                return proxy
        return None

    def put(self, proxy: PoolConnectionProxy) -> bool:
        """Keep one after a statement, or a transaction, that ended well; return False for one that is the pool's to mend."""
        if not _stands(proxy) or itself(proxy).is_in_transaction():
            return False
        self._kept.append(proxy)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FOR_S, self._begin_giving)
        return True

    async def give_back(self) -> None:
        """Give all back to the pool."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        kept, self._kept = self._kept, []
        for proxy in kept:
            await self._pool.release(proxy)

    def _begin_giving(self) -> None:
        self._timer = None
        self._giving = asyncio.create_task(self.give_back())


def itself(proxy: PoolConnectionProxy) -> Connection:
    """Return the connection behind the pool's stand-in, which forgets it the moment the connection breaks."""
    connection: Connection = cast("Any", proxy).itself()  # not known to the stand-in's type
    return connection


def _stands(proxy: PoolConnectionProxy) -> bool:
    """Whether the connection is there; the stand-in of one that broke stands for nothing, and has nothing of it."""
    return getattr(proxy, "itself", None) is not None and not itself(proxy).is_closed()
