"""A connection whose faults are the platform's errors."""

from collections.abc import Awaitable, Callable, Collection, Coroutine
from functools import wraps
from typing import Any, NoReturn, ParamSpec, Self, TypeVar, cast

import asyncpg

from stylobate.database.faults import FAULTS, fault_of, unavailable
from stylobate.database.known_types import KnownTypes, NoStatement

P = ParamSpec("P")
R = TypeVar("R")
_known = KnownTypes()


def _told(statement: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Return a method of the driver's connection whose faults are the platform's."""

    @wraps(statement)
    async def run(*args: P.args, **options: P.kwargs) -> R:
        try:
            return await statement(*args, **options)
        except FAULTS as error:
            _raise(cast("Any", args[0]), error)

    return run


def _raise(connection: asyncpg.Connection, error: BaseException) -> NoReturn:
    if isinstance(error, asyncpg.InternalClientError):
        connection.terminate()  # the driver met bytes that it did not expect, as from a server being killed; never use it again
    known = fault_of(error)
    if known is not None:
        raise known from error
    if isinstance(error, asyncpg.InterfaceError) and connection.is_closed():
        raise unavailable(error) from error
    raise error  # for the store that sent it; or a defect, a wrong number of arguments and the like


class Connection(asyncpg.Connection):
    """An ``asyncpg`` connection inside a transaction: ``fetch``, ``fetchrow``, ``fetchval``, ``execute``, ``executemany``.

    JSON columns are passed and received as ``str``. Each call raises DatabaseUnavailableError when the connection broke, the
    statement took too long (a write may have happened then) or something is the matter that may pass, ValueRefusedError for
    a value that the database cannot take; see :mod:`stylobate.database.faults`. Other errors stay the driver's.

    Session state (``SET`` without ``LOCAL``, session advisory locks, ``LISTEN``) must not be left behind: a connection goes
    back to its pool as it is, which saves a round trip for each use.
    """

    execute = _told(asyncpg.Connection.execute)
    executemany = _told(asyncpg.Connection.executemany)
    fetch = _told(asyncpg.Connection.fetch)  # type: ignore[assignment]  # rows are always asyncpg.Record here
    fetchrow = _told(asyncpg.Connection.fetchrow)  # type: ignore[assignment]  # likewise
    fetchval = _told(asyncpg.Connection.fetchval)

    def itself(self) -> Self:
        """Return this connection, also when asked through a pool's stand-in for it."""
        return self

    def get_reset_query(self) -> str:
        """Return nothing to run when the connection goes back to its pool."""
        return ""

    async def _introspect_types(self, typeoids: Collection[int], timeout: float) -> tuple[Any, Any]:  # noqa: ASYNC109  the driver's own method
        """Return what the driver wants to know about types: from what another connection found out, where that is all."""
        rows = _known.of(typeoids)
        if rows is not None:
            return rows, NoStatement()
        found, statement = await super()._introspect_types(typeoids, timeout)  # type: ignore[misc]  # not in its stubs
        _known.keep(found)
        return found, statement
