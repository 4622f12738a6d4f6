"""Connections that were given back a moment ago: the next statement takes one without the pool's ways in and out."""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any, cast

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from stylobate.database.connection import Connection
from stylobate.database.faults import FAULTS

_FOR_S = 1.0
"""How long at most before all are given back to the pool, which has its own rules of when a connection is to end."""
_SOON_S = 0.01
"""For how long one that is in use is waited for. A small statement takes less than 1 ms, to open another connection 3 ms."""
_CALM = 8
"""Waits in a second that are taken for chance. When there are more, or one was in vain, another connection is opened."""


class KeptConnections:
    """Connections of a pool that nobody uses, kept for a moment: a second at most since the first of them came.

    A way in and out of the pool takes 60 µs of CPU, twice what a small statement takes. The last that came is the first to go.

    Who finds none while another is at work waits for that one a moment, so that what a service does all by itself, at rest,
    needs one connection even where two of its tasks are about at once. Each is a process of the server with 3 to 5 MB.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._kept: list[PoolConnectionProxy] = []
        self._timer: asyncio.TimerHandle | None = None
        self._giving: asyncio.Task[None] | None = None
        self._awaiting: deque[asyncio.Future[PoolConnectionProxy | None]] = deque()
        self._waits = 0
        self._counted_from = 0.0

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
        while self._awaiting:
            waiter = self._awaiting.popleft()
            if not waiter.done():
                waiter.set_result(proxy)
                return True
        self._kept.append(proxy)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FOR_S, self._begin_giving)
        return True

    async def soon(self, *, others: bool) -> PoolConnectionProxy | None:
        """Return one that somebody gives back in a moment; None: the pool is to be asked, for nobody did, or too often.

        :param others: whether somebody has one.
        """
        if self._giving is not None and not self._giving.done():
            await asyncio.wait([self._giving])  # the pool has them in a moment, and would open another until then
            return None
        if not others:
            return None
        loop = asyncio.get_running_loop()
        if (now := loop.time()) - self._counted_from > 1.0:
            self._counted_from, self._waits = now, 0
        self._waits += 1
        if self._waits > _CALM:
            return None
        waiter: asyncio.Future[PoolConnectionProxy | None] = loop.create_future()
        self._awaiting.append(waiter)
        timer = loop.call_later(_SOON_S, self._give_up, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and (given := waiter.result()) is not None and not self.put(given):
                await self._pool.release(given)
            raise
        finally:
            timer.cancel()

    async def give_back(self) -> None:
        """Give all back to the pool. One that breaks at that moment is the pool's to forget, and keeps no other one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        kept, self._kept = self._kept, []
        for proxy in kept:
            with suppress(*FAULTS):
                await self._pool.release(proxy)

    def _give_up(self, waiter: asyncio.Future[PoolConnectionProxy | None]) -> None:
        self._waits = _CALM
        if not waiter.done():
            waiter.set_result(None)

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
