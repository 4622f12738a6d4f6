"""A connection whose faults are the platform's errors."""

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, Self

import asyncpg

from stylobate.database.faults import FAULTS, fault_of, unavailable


class Connection(asyncpg.Connection):
    """An ``asyncpg`` connection inside a transaction: ``fetch``, ``fetchrow``, ``fetchval``, ``execute``, ``executemany``.

    JSON columns are passed and received as ``str``. Each call raises DatabaseUnavailableError when the connection broke, the
    statement took too long (a write may have happened then) or something is the matter that may pass, ValueRefusedError for
    a value that the database cannot take; see :mod:`stylobate.database.faults`. Other errors stay the driver's.

    Session state (``SET`` without ``LOCAL``, session advisory locks, ``LISTEN``) must not be left behind: a connection goes
    back to its pool as it is, which saves a round trip for each use.
    """

    def itself(self) -> Self:
        """Return this connection, also when asked through a pool's stand-in for it."""
        return self

    def get_reset_query(self) -> str:
        """Return nothing to run when the connection goes back to its pool."""
        return ""

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:  # noqa: ASYNC109  asyncpg's signature
        """Run statements and return the status of the last."""
        try:
            return await super().execute(query, *args, timeout=timeout)
        except FAULTS as error:
            self._fault(error)

    async def executemany(
        self,
        command: str,
        args: Iterable[Sequence[object]],
        *,
        timeout: float | None = None,  # noqa: ASYNC109  asyncpg's signature
    ) -> None:
        """Run one statement for each row of arguments."""
        try:
            await super().executemany(command, args, timeout=timeout)
        except FAULTS as error:
            self._fault(error)

    async def fetch(  # type: ignore[override]  # rows are always asyncpg.Record here
        self, query: str, *args: object, **options: Any
    ) -> list[asyncpg.Record]:
        """Return all rows."""
        try:
            return await super().fetch(query, *args, **options)
        except FAULTS as error:
            self._fault(error)

    async def fetchrow(  # type: ignore[override]  # rows are always asyncpg.Record here
        self, query: str, *args: object, **options: Any
    ) -> asyncpg.Record | None:
        """Return the first row, or None."""
        try:
            row: asyncpg.Record | None = await super().fetchrow(query, *args, **options)
            return row
        except FAULTS as error:
            self._fault(error)

    async def fetchval(self, query: str, *args: object, **options: Any) -> Any:
        """Return the first value of the first row, or None."""
        try:
            return await super().fetchval(query, *args, **options)
        except FAULTS as error:
            self._fault(error)

    def _fault(self, error: BaseException) -> NoReturn:
        if isinstance(error, asyncpg.InternalClientError):
            self.terminate()  # the driver met bytes that it did not expect, as from a server being killed; never use it again
        known = fault_of(error)
        if known is not None:
            raise known from error
        if isinstance(error, asyncpg.InterfaceError) and self.is_closed():
            raise unavailable(error) from error
        raise error  # for the store that sent it; or a defect, a wrong number of arguments and the like
