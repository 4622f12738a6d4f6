"""What a caller holds of a call that lies within another object: all but the responses is answered by that one."""

import asyncio
from collections.abc import Callable
from typing import Any, Self

import grpc.aio


class CallHandle:
    """Has what ``grpc.aio.Call`` has, of the call within."""

    _call: Any = None

    def __init__(self, call: Any) -> None:
        self._call = call

    def __getattr__(self, name: str) -> Any:
        """Return the attribute of the call within."""
        return getattr(self._call, name)


class StreamHandle(CallHandle):
    """A call with a stream of responses: its own iterator, and the end of the call when nobody holds it any more.

    :param seen: makes what is raised of an error of the call within.
    """

    def __init__(self, call: Any, seen: Callable[[Any], Exception]) -> None:
        super().__init__(call)
        self._seen = seen
        self._loop = asyncio.get_running_loop()

    def __del__(self) -> None:
        """Give the call up: whatever serves it keeps the call within until it has ended."""
        if self._call is not None and not self._loop.is_closed() and not self._call.done():
            self._loop.call_soon_threadsafe(self._call.cancel)  # garbage is collected in any thread

    def __aiter__(self) -> Self:
        """Iterate over the messages."""
        return self

    async def __anext__(self) -> Any:
        """Return the next message."""
        message = await self.read()
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return message

    async def read(self) -> Any:
        """Return the next message, ``grpc.aio.EOF`` at the end. Raises what is made of an error; CancelledError."""
        try:
            return await self._call.read()
        except grpc.aio.AioRpcError as error:
            seen = self._seen(error)
            if seen is error:
                raise
            raise seen from error
