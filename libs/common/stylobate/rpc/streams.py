"""The streams being served: each known, so that a server that stops can end them."""

import asyncio
import inspect
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from stylobate.errors import InvalidInputError, UnavailableError
from stylobate.rpc.method import Behaviour, Context

_COME_BACK = timedelta(milliseconds=100)


class Streams:
    """Serves methods that answer with a stream, and ends what is open when told to."""

    def __init__(self) -> None:
        self._open: set[asyncio.Task[Any]] = set()
        self._ended: set[asyncio.Task[Any]] = set()

    def end(self) -> None:
        """End every open stream with UNAVAILABLE."""
        self._ended |= self._open
        for task in self._open:
            task.cancel()

    def serving(self, handler: "grpc.RpcMethodHandler[Any, Any]") -> Behaviour:
        """Return the behaviour of a handler. Raises ValueError when it is no async generator."""
        serve: Any = handler.unary_stream
        decode: Any = handler.request_deserializer
        encode: Any = handler.response_serializer
        if not inspect.isasyncgenfunction(serve):
            raise ValueError(f"{serve!r} must be an async generator")

        async def behaviour(data: bytes, context: Context) -> bytes:
            try:
                request = decode(data)
            except DecodeError as error:
                raise InvalidInputError("The request message cannot be decoded.") from error
            task = asyncio.current_task()
            if task is None:
                raise RuntimeError("a stream is served outside of any task")
            self._open.add(task)
            try:
                async with aclosing(serve(request, context)) as messages:
                    async for message in messages:
                        await context.write(encode(message))
            except asyncio.CancelledError:
                if task not in self._ended:
                    raise
                task.uncancel()  # it was we who ended it: the reader is told so, rather than that it cancelled
                raise UnavailableError("The server is shutting down.", retry_after=_COME_BACK) from None
            finally:
                self._open.discard(task)
                self._ended.discard(task)
            return b""

        return behaviour
