"""Which errors mean that the database does not answer: the one place that knows."""

from datetime import timedelta

import asyncpg

from stylobate.errors import DatabaseUnavailableError

RETRY_AFTER = timedelta(seconds=1)

LOST = (
    OSError,  # refused, reset, unreachable; TimeoutError is one too
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,  # starting up, shutting down, in recovery
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
)
"""Errors of any statement that are the server's or the network's, whatever was asked."""

ROLLED_BACK = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""Refusals that are due to other transactions at the moment (SQLSTATE 40001, 40P01): nothing of the statement happened."""

NO_CONNECTION = (*LOST, asyncpg.PostgresError, asyncpg.InternalClientError)
"""Errors of connecting: to a caller a wrong password or a missing role is a database that does not answer."""


def unavailable(error: BaseException) -> DatabaseUnavailableError:
    """Return the platform's error for a fault; the text names the fault for logs, callers see it in no other form."""
    return DatabaseUnavailableError(metadata={"cause": type(error).__name__}, retry_after=RETRY_AFTER)
