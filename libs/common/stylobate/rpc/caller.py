"""The channel that services call each other through, local or remote."""

import asyncio
from collections.abc import Generator
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio

from stylobate.errors import DeadlineExceededError
from stylobate.rpc.call import current_call
from stylobate.rpc.outgoing import Outgoing
from stylobate.rpc.status import from_rpc_error
from stylobate.rpc.wrapped import WrappedChannel, WrappedStreamCall, WrappedUnaryCall

DEFAULT_TIMEOUT = timedelta(seconds=5)


class CallerChannel(WrappedChannel):
    """Adds to each call what goes with it and how long it may take, and raises the StylobateError that it failed with.

    The deadline is the timeout given (a default where none is) or what is left of the call being served, whichever is
    less; a stream has none unless one is given.
    """

    def __init__(self, inner: grpc.aio.Channel, outgoing: Outgoing, timeout: timedelta = DEFAULT_TIMEOUT) -> None:
        super().__init__(inner)
        self._outgoing = outgoing
        self._timeout_s = timeout.total_seconds()

    def _unary(self, inner: grpc.aio.UnaryUnaryMultiCallable[Any, Any]) -> "CallerUnary":
        return CallerUnary(inner, self._outgoing, self._timeout_s)

    def _stream(self, inner: grpc.aio.UnaryStreamMultiCallable[Any, Any]) -> "CallerStream":
        return CallerStream(inner, self._outgoing)


class CallerUnary(grpc.aio.UnaryUnaryMultiCallable[Any, Any]):
    """Calls one method with one response."""

    def __init__(self, inner: grpc.aio.UnaryUnaryMultiCallable[Any, Any], outgoing: Outgoing, timeout_s: float) -> None:
        self._inner = inner
        self._outgoing = outgoing
        self._timeout_s = timeout_s
        self._loop: asyncio.AbstractEventLoop | None = None  # kept: asking for it is a system call

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        **options: Any,
    ) -> WrappedUnaryCall:
        """Begin the call. ``timeout`` in seconds; ``metadata`` wins over what would be sent under the same key.

        :raises DeadlineExceededError: the call being served has no time left.
        """
        call = current_call.get()
        limit = self._timeout_s if timeout is None else timeout
        if call is not None and call.deadline:
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            limit = min(limit, call.deadline - self._loop.time())
            if limit <= 0:
                raise DeadlineExceededError  # a real channel might still send it
        headers = self._outgoing.metadata(call, metadata or ())
        made = self._inner(
            request,
            timeout=limit,
            metadata=headers,
            **options,
        )
        return _UnaryCall(made)


class CallerStream(grpc.aio.UnaryStreamMultiCallable[Any, Any]):
    """Calls one method with a stream of responses."""

    def __init__(self, inner: grpc.aio.UnaryStreamMultiCallable[Any, Any], outgoing: Outgoing) -> None:
        self._inner = inner
        self._outgoing = outgoing

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        **options: Any,
    ) -> WrappedStreamCall:
        """Begin the call. ``timeout`` in seconds; ``metadata`` wins over what would be sent under the same key."""
        headers = self._outgoing.metadata(current_call.get(), metadata or ())
        made = self._inner(
            request,
            timeout=timeout,
            metadata=headers,
            **options,
        )
        return _StreamCall(made)


class _UnaryCall(WrappedUnaryCall):
    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the response. Raises StylobateError."""
        try:
            return (yield from self._unary.__await__())
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error


class _StreamCall(WrappedStreamCall):
    async def read(self) -> Any:
        """Return the next message, ``grpc.aio.EOF`` at the end. Raises StylobateError."""
        try:
            return await self._stream.read()
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
