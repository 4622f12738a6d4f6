"""The streams being served: each known, so that a server that stops can end them."""

import asyncio
import inspect
from contextlib import aclosing
from datetime import timedelta
from typing import Any, cast

import grpc

from stylobate.errors import UnavailableError
from stylobate.rpc.messages import reader, writer
from stylobate.rpc.method import Behaviour, Context
from stylobate.rpc.under_way import UnderWay

_COME_BACK = timedelta(milliseconds=100)


class Streams:
    """Serves methods that answer with a stream, and ends what is open when told to."""

    def __init__(self, under_way: UnderWay) -> None:
        self._under_way = under_way
        self._open: set[_OpenStream] = set()
        self._is_ended = False

    def begin(self) -> None:
        """Let streams come, again where they were ended."""
        self._is_ended = False

    def end(self) -> None:
        """End every open stream with UNAVAILABLE, and those that come yet: a call may be on its way in when its server stops."""
        self._is_ended = True
        for stream in tuple(self._open):
            stream.end()

    def serving(self, handler: "grpc.RpcMethodHandler[Any, Any]", full_name: str) -> Behaviour:
        """Return the behaviour of a handler. Raises ValueError when it is not an async generator."""
        serve: Any = handler.unary_stream
        read = reader(cast("Any", handler.request_deserializer))
        write = writer(cast("Any", handler.response_serializer))
        if not inspect.isasyncgenfunction(serve):
            raise ValueError(f"{serve!r} must be an async generator")

        async def behaviour(data: bytes, context: Context) -> bytes:
            request = read(data)
            if self._is_ended:
                raise _going()
            stream = _OpenStream()
            self._open.add(stream)
            self._under_way.begin(full_name, context)
            try:
                async with aclosing(serve(request, context)) as messages:
                    async for message in messages:
                        await stream.write(context, write(message))
            except asyncio.CancelledError:
                stream.explain()
                raise
            finally:
                self._open.discard(stream)
                self._under_way.end(context)
            return b""

        return behaviour


class _OpenStream:
    """One stream, from within its task."""

    def __init__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a stream is served outside of any task")
        self._task = task
        self._is_writing = False
        self._is_ended = False

    async def write(self, context: Context, message: bytes) -> None:
        """Hand a message over; raises UnavailableError when the stream was ended meanwhile."""
        self._is_writing = True
        await context.write(message)
        self._is_writing = False
        if self._is_ended:
            raise _going()

    def end(self) -> None:
        """Interrupt the handler; but not a write, behind whose back the transport cannot send a status."""
        if not self._is_ended:
            self._is_ended = True
            if not self._is_writing:
                self._task.cancel()

    def explain(self) -> None:
        """Raise UnavailableError where it was the end, and nobody else, that cancelled the task."""
        if self._is_ended and not self._is_writing and self._task.uncancel() == 0:
            raise _going() from None


class StreamEndedError(UnavailableError):
    """The server stops in good order; whoever reads comes back elsewhere."""


def _going() -> StreamEndedError:
    return StreamEndedError("The server is shutting down.", retry_after=_COME_BACK)
