"""Which errors mean that the server does not serve: the one place that knows."""

from datetime import timedelta

import redis.exceptions

from stylobate.errors import RedisUnavailableError

RETRY_AFTER = timedelta(seconds=1)

NOT_SERVING = ("LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "OOM", "NOREPLICAS", "MISCONF")
"""First words of replies that are about the server's state, not about what was asked."""

LOST = (
    redis.exceptions.ConnectionError,  # a server that loads its data is one too
    redis.exceptions.TimeoutError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.MasterDownError,
    redis.exceptions.OutOfMemoryError,
    OSError,
)
"""What redis-py raises for the same."""


def unavailable(cause: str) -> RedisUnavailableError:
    """Return the platform's error; the cause is for logs."""
    return RedisUnavailableError(metadata={"cause": cause}, retry_after=RETRY_AFTER)
