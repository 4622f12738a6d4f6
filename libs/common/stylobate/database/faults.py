"""What PostgreSQL's and the driver's errors mean to a caller: the one place that knows.

By SQLSTATE (PostgreSQL's appendix A). What is not named here is for the store that sent the statement (a constraint), or a
defect.
"""

from datetime import timedelta

import asyncpg
from asyncpg.exceptions import _base as driver

from stylobate.errors import DatabaseUnavailableError, StylobateError, ValueRefusedError

RETRY_AFTER = timedelta(seconds=1)

LOST = (
    OSError,  # refused, reset, unreachable; TimeoutError is one too
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,  # starting up, shutting down, in recovery
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
)
"""Errors that are the server's or the network's, whatever was asked: worth connecting again."""

NO_CONNECTION = (*LOST, asyncpg.PostgresError, asyncpg.InternalClientError)
"""Errors of connecting: to a caller a wrong password or a missing role is a database that does not answer."""

FAULTS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""Whatever a statement may raise."""

MAY_PASS = (
    "08",  # connection
    "53",  # resources: disk full, out of memory, too many connections
    "57",  # operator: shutdown, crash, recovery, and statement_timeout (57014)
    "58",  # system: input and output
    "25P03",  # idle_in_transaction_session_timeout
    "25P04",  # transaction_timeout
    "55P03",  # lock_timeout
    "40",  # rolled back: serialization, deadlock
)
"""Classes (two characters) and codes of what may go well another time; nothing is wrong with what was asked."""

REFUSED = (
    "22",  # data: a character that cannot be kept, a number out of range
    "54",  # limits of the program: a value too large for an index, nested too deep
)
"""Classes of what a value that was passed is to blame for."""

_ROLLED_BACK = ("40001", "40P01")
"""Refusals that are due to other transactions at the moment: nothing of the statement happened."""


def fault_of(error: BaseException) -> StylobateError | None:
    """Return what a caller gets for an error of a statement; None for one that its store deals with, or a defect."""
    if isinstance(error, (OSError, asyncpg.InternalClientError)):
        return unavailable(error)
    if isinstance(error, driver.DataError):
        return ValueRefusedError()
    code = getattr(error, "sqlstate", None) or ""
    if code.startswith(MAY_PASS):
        return unavailable(error)
    if code.startswith(REFUSED):
        return ValueRefusedError()
    return None


def is_rolled_back(error: BaseException | None) -> bool:
    """Return whether the server undid everything because of others that were at it too: the same may be sent again."""
    return getattr(error, "sqlstate", None) in _ROLLED_BACK


def unavailable(error: BaseException) -> DatabaseUnavailableError:
    """Return the platform's error for a fault; the text names the fault for logs, callers see it in no other form."""
    return DatabaseUnavailableError(metadata={"cause": type(error).__name__}, retry_after=RETRY_AFTER)
