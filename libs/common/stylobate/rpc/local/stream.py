"""One local call with a stream of responses: what lies between handler and caller."""

import asyncio
from collections import deque
from typing import Any

import grpc.aio

from stylobate.rpc.handles import StreamHandle
from stylobate.rpc.local.call import LocalCall
from stylobate.rpc.local.unary import LocalUnaryMethod
from stylobate.rpc.outcome import again

_MAX_WAITING = 16
_MAX_WAITING_BYTES = 1024 * 1024


class LocalStreamCall(LocalCall):
    """Keeps encoded messages that wait. The handler waits when 16 messages or 1 MiB lie unread.

    The server holds it, the caller a :class:`~stylobate.rpc.handles.StreamHandle`: one that drops its iterator ends the call.
    """

    _reader: asyncio.Future[None] | None = None
    _writer: asyncio.Future[None] | None = None

    def __init__(self, *arguments: Any) -> None:
        self._messages: deque[bytes] = deque()
        self._size = 0
        super().__init__(*arguments)
        self.context.write_to = self._put
        self.outcome.add_done_callback(lambda _: _wake(self._reader))

    async def _put(self, message: bytes) -> None:
        while self._messages and (len(self._messages) >= _MAX_WAITING or self._size + len(message) > _MAX_WAITING_BYTES):
            self._writer = self._loop.create_future()
            await self._writer
        if self.outcome.done():
            raise grpc.aio.InternalError("the call has ended")
        self._messages.append(message)
        self._size += len(message)
        _wake(self._reader)

    async def read(self) -> Any:
        """Return the next message, ``grpc.aio.EOF`` at the end. Raises AioRpcError, CancelledError."""
        while not self._messages:
            if self.outcome.done():
                result = self.outcome.result()
                if isinstance(result, bytes):
                    return grpc.aio.EOF
                raise again(result)
            self._reader = self._loop.create_future()
            try:
                await self._reader
            except asyncio.CancelledError:
                self.cancel()
                raise
        message = self._messages.popleft()
        self._size -= len(message)
        _wake(self._writer)
        return message if self.decode is None else self.decode(message)

    def drop(self) -> None:
        """Forget what was not read as well."""
        self._messages.clear()  # what was not read by now never is
        self._size = 0
        super().drop()


class LocalStreamMethod(LocalUnaryMethod):
    """Calls one method with a stream of responses."""

    call = LocalStreamCall

    def __call__(self, request: Any, **options: Any) -> StreamHandle:
        """Begin the call; see above."""
        return StreamHandle(super().__call__(request, **options), lambda error: error)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
