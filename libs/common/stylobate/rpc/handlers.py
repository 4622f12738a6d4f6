"""The run of a handler, from the encoded request to the encoded answer; known until it ends, so that it can be ended."""

import asyncio
import inspect
from collections.abc import Callable, Mapping
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from stylobate.errors import InvalidInputError, UnavailableError
from stylobate.logs import get_logger
from stylobate.rpc.call import Call, current_call
from stylobate.rpc.messages import NUL, AnswerTooLargeError, refuse_nul
from stylobate.rpc.method import MAX_MESSAGE_BYTES, Behaviour, Context
from stylobate.telemetry import counter

_LOCAL = "local:"
_COME_BACK = timedelta(milliseconds=100)
_log = get_logger("app")


class StreamEndedError(UnavailableError):
    """The server stops in good order; whoever reads comes back elsewhere."""

    default_detail = "The server is shutting down."


class Handlers:
    """Makes the behaviours of handlers, and ends open streams when told to."""

    def __init__(self) -> None:
        self._under_way: dict[Context, tuple[str, Call | None]] = {}
        self._streams: set[_OpenStream] = set()
        self._is_ended = False

    def begin_streams(self) -> None:
        """Let streams come, again where they were ended."""
        self._is_ended = False

    def end_streams(self) -> None:
        """End every open stream with UNAVAILABLE, and those that come yet: a call may be on its way in when its server stops.

        Their readers come back elsewhere and go on from where they were.
        """
        self._is_ended = True
        for stream in tuple(self._streams):
            stream.end()

    @property
    def are_busy(self) -> bool:
        """Whether a call is under way that came over a wire."""
        return any(context.peer() != _LOCAL for context in self._under_way)

    def cut_off(self) -> None:
        """Log and count each call under way that came over a wire; no server can cut off local ones."""
        cut = counter("rpc_cut_off", "Calls that were cut off when their server stopped, by method.", ("method",))
        for context, (method, call) in tuple(self._under_way.items()):
            if (peer := context.peer()) != _LOCAL:
                served = call or Call()
                cut.labels(method).inc()
                _log.warning("rpc_cut_off", method=method, service=served.principal.via, peer=peer, request_id=served.request_id)

    def unary(self, handler: "grpc.RpcMethodHandler[Any, Any]", full_name: str) -> "UnaryBehaviour":
        """Return the behaviour of a handler with one response."""
        return UnaryBehaviour(handler, full_name, self._under_way)

    def stream(self, handler: "grpc.RpcMethodHandler[Any, Any]", full_name: str) -> Behaviour:
        """Return the behaviour of a handler with a stream of responses. Raises ValueError when it is not an async generator."""
        serve: Any = handler.unary_stream
        decode: Any = handler.request_deserializer
        encode: Any = handler.response_serializer
        if not inspect.isasyncgenfunction(serve):
            raise ValueError(f"{serve!r} must be an async generator")

        async def behaviour(data: bytes, context: Context) -> bytes:
            request = _read(decode, data)
            if self._is_ended:
                raise StreamEndedError(retry_after=_COME_BACK)
            stream = _OpenStream()
            self._streams.add(stream)
            self._under_way[context] = full_name, current_call.get()
            try:
                async with aclosing(serve(request, context)) as messages:
                    async for message in messages:
                        await stream.write(context, _write(encode, message))
            except asyncio.CancelledError:
                stream.explain()
                raise
            finally:
                self._streams.discard(stream)
                del self._under_way[context]
            return b""

        return behaviour


class UnaryBehaviour:
    """The behaviour of a handler with one response.

    Who serves a call that stays in its process takes its parts instead, one after the other: each step by itself costs every
    call, and nobody cuts these off.
    """

    def __init__(
        self,
        handler: "grpc.RpcMethodHandler[Any, Any]",
        full_name: str,
        under_way: dict[Context, tuple[str, Call | None]],
    ) -> None:
        self._full_name = full_name
        self._under_way = under_way
        self.serve: Any = handler.unary_unary
        """The servicer's method: messages in and out."""
        self.decode: Any = handler.request_deserializer
        self.encode: Any = handler.response_serializer
        self.plain: Any = None
        """The servicer's method that does the same with plain values, if it has one; see ``LocalUnaryMethod.ask_plainly``."""

    async def __call__(self, data: bytes, context: Context) -> bytes:
        """Serve a call."""
        request = self.read(data)
        under_way = self._under_way
        under_way[context] = self._full_name, current_call.get()
        try:
            return self.write(await self.serve(request, context))
        finally:
            del under_way[context]

    def read(self, data: bytes) -> Any:
        """Return the request. Raises InvalidInputError."""
        return _read(self.decode, data)

    def write(self, answer: Any) -> bytes:
        """Return the encoded answer. Raises AnswerTooLargeError."""
        return _write(self.encode, answer)


class ByName(grpc.GenericRpcHandler):
    """The bound behaviours of all methods, as a real server looks them up."""

    def __init__(self, handlers: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]") -> None:
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Return the handler of the method; None makes the server answer UNIMPLEMENTED."""
        return self._handlers.get(handler_call_details.method)


def _read(decode: Callable[[bytes], Any], data: bytes) -> Any:
    """Return a request. Raises InvalidInputError for bytes that are not a message, or with a text that nobody can keep."""
    try:
        request = decode(data)
    except DecodeError as error:  # text that is not UTF-8 included
        raise InvalidInputError("The request message cannot be decoded.") from error
    if NUL in data:  # rare, and most often a number or bytes
        refuse_nul(request)
    return request


def _write(encode: Callable[[Any], bytes], answer: Any) -> bytes:
    """Return an encoded answer. Raises AnswerTooLargeError where the transport would cut the call off."""
    data = encode(answer)
    if len(data) > MAX_MESSAGE_BYTES:
        raise AnswerTooLargeError
    return data


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
            raise StreamEndedError(retry_after=_COME_BACK)

    def end(self) -> None:
        """Interrupt the handler; but not a write, behind whose back the transport cannot send a status."""
        if not self._is_ended:
            self._is_ended = True
            if not self._is_writing:
                self._task.cancel()

    def explain(self) -> None:
        """Raise UnavailableError where it was the end, and nobody else, that cancelled the task."""
        if self._is_ended and not self._is_writing and self._task.uncancel() == 0:
            raise StreamEndedError(retry_after=_COME_BACK) from None
