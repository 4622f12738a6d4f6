"""Statements over a pool: acquiring with patience, one connection per statement or transaction."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from time import monotonic
from types import TracebackType
from typing import Any, TypeVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from stylobate.database.connection import Connection
from stylobate.database.faults import LOST, NO_CONNECTION, RETRY_AFTER, is_rolled_back, unavailable
from stylobate.database.kept import KeptConnections, itself
from stylobate.errors import DatabaseUnavailableError
from stylobate.health import Health, Status
from stylobate.resilience import backoff

R = TypeVar("R")
_TRIES = 6
_LET_GO_S = 0.25
_Pool = asyncpg.Pool
_Proxy = PoolConnectionProxy


class Queries:
    """Statements, each on a connection of its own from the pool.

    Every call raises DatabaseUnavailableError when no connection is to be had or the connection broke; a write may have
    happened then. A single statement that the server rolled back because it clashed with others is run again. SQL names
    tables without a schema.
    """

    def __init__(
        self, pool: _Pool, *, is_writer: bool, patience: timedelta = timedelta(seconds=1), wait: timedelta = timedelta(seconds=2)
    ) -> None:
        """Use a pool that somebody else closes.

        :param is_writer: whether these connections are to the server that takes writes.
        :param patience: how long a server that cannot be reached is tried again before a caller is told.
        :param wait: how long a caller waits for a free connection when all are in use. Less than callers have: they are told
            that it is busy, not that their time was up.
        """
        self._pool = pool
        self._kept = KeptConnections(pool)
        self._is_writer = is_writer
        self._patience_s = patience.total_seconds()
        self._wait_s = wait.total_seconds()
        self._in_use = 0
        self._waiting = 0
        self.held = ""
        """Why nothing is asked of the server yet; empty: it is."""

    async def fetch(self, sql: str, *args: object) -> list[asyncpg.Record]:
        """Return all rows."""
        return await self._run(Connection.fetch, sql, args)

    async def fetchrow(self, sql: str, *args: object) -> asyncpg.Record | None:
        """Return the first row, or None."""
        return await self._run(Connection.fetchrow, sql, args)

    async def fetchval(self, sql: str, *args: object) -> Any:
        """Return the first value of the first row, or None."""
        return await self._run(Connection.fetchval, sql, args)

    async def fetchmany(self, sql: str, rows: Sequence[Sequence[object]]) -> list[asyncpg.Record]:
        """Run a statement for each row of arguments, all or none, and return what all return."""
        return await self._run(Connection.fetchmany, sql, (rows,))

    async def execute(self, sql: str, *args: object) -> str:
        """Run one statement (several when there are no arguments) and return its status, such as ``UPDATE 3``."""
        return await self._run(Connection.execute, sql, args)

    async def _run(self, statement: Callable[..., Awaitable[R]], sql: str, args: tuple[object, ...]) -> R:
        """Run one statement; again, some times, when it was undone because of others that were at it too."""
        pauses = backoff(initial=0.01, maximum=0.1)
        for _ in range(_TRIES - 1):
            try:
                async with _Borrowed(self) as connection:
                    return await statement(connection, sql, *args)
            except DatabaseUnavailableError as error:
                if not is_rolled_back(error.__cause__):
                    raise
            await asyncio.sleep(next(pauses))
        async with _Borrowed(self) as connection:
            return await statement(connection, sql, *args)

    def transaction(self) -> "InTransaction":
        """Return a context manager that gives a connection inside a transaction: committed at its end, rolled back on errors."""
        return InTransaction(self)

    async def acquire(self) -> _Proxy:
        """Take a connection; :meth:`release` gives it back. Raises DatabaseUnavailableError."""
        if self.held:
            raise DatabaseUnavailableError(metadata={"cause": self.held}, retry_after=RETRY_AFTER)
        if self._in_use >= self._pool.get_max_size():
            return await self._queue()
        self._in_use += 1
        if (kept := self._kept.take()) is not None:
            return kept
        try:
            if (given := await self._kept.soon(others=self._in_use > 1)) is not None:
                return given
            return await self._connected()
        except BaseException:
            self._in_use -= 1
            raise

    async def release(self, proxy: _Proxy, error: BaseException | None = None) -> None:
        """Give a connection back; the error says why its work ended, if it was one.

        A server that takes no writes any more became a standby: connections are made anew, to find the one that does, and
        DatabaseUnavailableError is raised in place of the error. (Not by a reader: there it is a defect of the caller.)
        """
        self._in_use -= 1
        if error is None:
            if self._waiting or not self._kept.put(proxy):  # who waits does so at the pool
                await self._pool.release(proxy)
        elif not (self._is_writer and isinstance(error, asyncpg.ReadOnlySQLTransactionError)):
            # a statement that was broken off is cancelled first; a server that hangs would have us wait for that as well
            with suppress(TimeoutError):
                await self._pool.release(proxy, timeout=_LET_GO_S)
        else:
            await self.renew()
            await self._pool.release(proxy)
            raise unavailable(error) from error

    async def let_go(self) -> None:
        """Give the pool back what is kept for the next statement: before it is closed."""
        await self._kept.give_back()

    async def renew(self) -> None:
        """Have every connection made anew: one in use when it is given back."""
        await self._pool.expire_connections()
        await self._kept.give_back()

    async def _queue(self) -> _Proxy:
        """Wait for a connection that another caller gives back."""
        self._waiting += 1
        self._in_use += 1
        try:
            return await self._pool.acquire(timeout=self._wait_s)
        except NO_CONNECTION as error:
            self._in_use -= 1
            raise unavailable(error) from error
        except BaseException:
            self._in_use -= 1
            raise
        finally:
            self._waiting -= 1

    async def _connected(self) -> _Proxy:
        started = 0.0
        for pause in backoff(initial=0.02, maximum=0.25):
            try:
                return await self._pool.acquire()
            except NO_CONNECTION as error:
                started = started or monotonic()
                if monotonic() - started + pause > self._patience_s or not isinstance(error, LOST):
                    raise unavailable(error) from error
            await asyncio.sleep(pause)
        raise AssertionError("backoff never ends")

    async def health(self) -> Health:
        """Ask the server, at most for a second."""
        started = monotonic()
        status, details = Status.HEALTHY, ""
        try:
            async with asyncio.timeout(1):
                await self.fetchval("select 1")
        except DatabaseUnavailableError as error:
            status, details = Status.UNHEALTHY, f"the database does not answer ({error.metadata.get('cause', '')})"
        except TimeoutError:
            status, details = Status.UNHEALTHY, "the database does not answer within a second"
        metrics = {
            "pool_size": float(self._pool.get_size()),
            "pool_in_use": float(self._in_use - self._waiting),
            "pool_max": float(self._pool.get_max_size()),
            "waiting": float(self._waiting),
            "latency_ms": round((monotonic() - started) * 1000, 3),
        }
        return Health(status, details, metrics)


class _Borrowed:
    """A connection for one statement. A class, not a generator: this is on the path of every statement."""

    __slots__ = ("_proxy", "_queries")

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def __aenter__(self) -> Connection:
        self._proxy = await self._queries.acquire()
        return itself(self._proxy)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._queries.release(self._proxy, error)


class InTransaction(_Borrowed):
    """A connection from the pool inside a transaction; see :meth:`Queries.transaction`."""

    __slots__ = ("_connection", "_transaction")

    async def __aenter__(self) -> Connection:
        """Take a connection and begin."""
        self._connection = await super().__aenter__()
        self._transaction = self._connection.transaction(isolation="read_committed")
        try:
            # begun as a block of its own: one that is cancelled while it begins is then rolled back in silence
            await self._transaction.__aenter__()
        except BaseException as error:
            await self._queries.release(self._proxy, error)
            raise
        return self._connection

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Commit, or roll back after an error, and give the connection back."""
        connection = self._connection
        try:
            if not connection.is_closed():
                await self._transaction.__aexit__(kind, error, trace)
            elif error is None:  # else the server has rolled back by itself
                raise unavailable(ConnectionResetError())
        except BaseException:
            if not connection.is_closed() and connection.is_in_transaction():
                connection.terminate()  # cancelled while it ended: nobody knows how, so nobody goes on with it
            raise
        finally:
            await self._queries.release(self._proxy, error)
