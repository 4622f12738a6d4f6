"""Connections of the driver that cost less: who sends a command writes it and waits for the answer, and no task beside.

For every command the driver starts three tasks: the first writes it, the second reads the answer, and the third checks twice a
second whether the connection was given up. That was half of what a command costs a process. Here the connection is closed by
who gives it up, which ends the reading. The driver takes a class of pools for that; monitors keep its own.
"""

import asyncio
from time import monotonic
from typing import Any

from pymongo import _csot
from pymongo.asynchronous.pool import AsyncConnection, Pool
from pymongo.errors import ProtocolError
from pymongo.message import _UNPACK_REPLY, _OpMsg
from pymongo.network_layer import PyMongoProtocol
from pymongo.pool_shared import _CancellationContext


class LeanConnection(AsyncConnection):
    """A connection on which one command at a time is sent, and answered."""

    async def send_message(self, message: bytes, max_doc_size: int) -> None:
        """Write a message. Raises ConnectionFailure, and DocumentTooLarge."""
        if max_doc_size > self.max_bson_size:
            await super().send_message(message, max_doc_size)  # it says so
        try:
            await self.conn.get_conn.write(message)
        except BaseException as error:  # noqa: BLE001  as the driver does: what else is sent here, nobody could tell apart
            await self._raise_connection_failure(error)

    async def receive_message(self, request_id: int | None) -> _OpMsg:
        """Read the answer. Raises ConnectionFailure; then, and when this is cancelled, the connection is closed."""
        protocol = self.conn.get_conn
        left_s = max(0.0, _csot.get_deadline() - monotonic()) if _csot.get_timeout() else protocol.gettimeout
        try:
            async with asyncio.timeout(left_s):
                data, code = await protocol.read(request_id, self.max_message_size)
            if code not in _UNPACK_REPLY:
                raise ProtocolError(f"an answer of an unknown kind: {code}")
            return _UNPACK_REPLY[code](data)
        except BaseException as error:  # noqa: BLE001  the answer may still come, and nobody would know whose it is
            await self._raise_connection_failure(error)


class LeanPool(Pool):
    """The driver's pool, with such connections."""

    async def connect(self, handler: Any = None) -> AsyncConnection:
        """Return a connection that is let in."""
        conn = await super().connect(handler)
        if not self.is_sdam:
            conn.__class__ = LeanConnection  # the driver makes its own, and lets it in, all in one
            self.active_contexts.discard(conn.cancel_context)
            conn.cancel_context = _Cut(conn.conn.get_conn)
            self.active_contexts.add(conn.cancel_context)
        return conn


class _Cut(_CancellationContext):
    """How a connection is given up while somebody waits for an answer."""

    def __init__(self, protocol: PyMongoProtocol) -> None:
        super().__init__()
        self._protocol = protocol

    def cancel(self) -> None:
        """Close it, so that who reads is told."""
        super().cancel()
        self._protocol.transport.abort()
