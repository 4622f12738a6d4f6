"""redis-py on our addresses: for the commands that need a connection of their own (blocking ones, transactions, streams)."""

import asyncio
from datetime import timedelta
from typing import Any

import redis.asyncio
import redis.exceptions
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from stylobate.redis.address import RedisAddress
from stylobate.redis.faults import unavailable

_LOST = (
    redis.exceptions.ConnectionError,  # a server that loads its data is one too
    redis.exceptions.TimeoutError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.MasterDownError,
    redis.exceptions.OutOfMemoryError,
    OSError,
)


class AddressConnection(AbstractConnection):
    """A redis-py connection to the current server of an address."""

    def __init__(self, *, address: RedisAddress, **options: Any) -> None:
        super().__init__(**options)
        self._address = address

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self.socket_connect_timeout):
                self._reader, self._writer = await self._address.open_streams()
        except OSError:
            self._address.skip()
            raise

    def repr_pieces(self) -> list[tuple[str, str | int]]:
        """Return what names the connection, without secrets."""
        return [("server", str(self._address)), ("db", self.db)]

    def _host_error(self) -> str:
        return str(self._address)


class Transaction(Pipeline):
    """A redis-py pipeline whose faults are the platform's."""

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send everything and return the replies. Raises RedisUnavailableError."""
        try:
            return await super().execute(raise_on_error)
        except _LOST as error:
            raise unavailable(f"{type(error).__name__}: {error}") from error


class Client(redis.asyncio.Redis):
    """A redis-py client (replies are bytes) whose faults are the platform's. No command is sent twice."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command and return its reply. Raises RedisUnavailableError."""
        try:
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except _LOST as error:
            if isinstance(error, redis.exceptions.ReadOnlyError):
                await self.connection_pool.disconnect(inuse_connections=False)  # the server became a replica
            raise unavailable(f"{type(error).__name__}: {error}") from error

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """Return a pipeline, as a transaction (MULTI) or not."""
        return Transaction(self.connection_pool, self.response_callbacks, transaction, shard_hint)


def open_client(address: RedisAddress, *, pool_size: int, connect_timeout: timedelta, timeout: timedelta) -> Client:
    """Return a client; it connects when asked. Close it with ``aclose``.

    :param pool_size: connections at most; a caller waits for a free one as long as for a reply.
    """
    pool = redis.asyncio.BlockingConnectionPool(
        connection_class=AddressConnection,
        max_connections=pool_size,
        timeout=timeout.total_seconds(),
        address=address,
        db=address.database,
        username=address.username or None,
        password=address.password or None,
        socket_timeout=timeout.total_seconds(),
        socket_connect_timeout=connect_timeout.total_seconds(),
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
    return Client(connection_pool=pool)
