"""The channel that services call each other through, local or remote."""

import asyncio
from collections.abc import Generator
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio

from stylobate.errors import DeadlineExceededError, StylobateError, UnavailableError
from stylobate.logs import get_logger
from stylobate.rpc.call import current_call
from stylobate.rpc.interceptors.service_caller import ServiceTokenInvalidError
from stylobate.rpc.outgoing import Outgoing
from stylobate.rpc.status import RETRY_AFTER, from_rpc_error
from stylobate.rpc.wrapped import WrappedChannel, WrappedStreamCall, WrappedUnaryCall

_UNANSWERED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
DEFAULT_TIMEOUT = timedelta(seconds=5)
_log = get_logger("security")


class ServiceTokenRefusedError(UnavailableError):
    """Another service did not accept this one's token: not the caller's fault, who is told 503 and not 401."""

    reason = "SERVICE_TOKEN_REFUSED"
    default_detail = "A service of the platform was not believed by another one."
    cure = "See the security log of the service that refused: a key that it does not know, or clocks that differ."


class CallerChannel(WrappedChannel):
    """Adds to each call what goes with it and how long it may take, and raises the StylobateError that it failed with.

    The deadline is the timeout given (a default where none is) or what is left of the call being served, whichever is
    less; a stream has none unless one is given.

    :param service: who is called; named in the errors of calls that it did not answer.
    """

    def __init__(
        self, inner: grpc.aio.Channel, outgoing: Outgoing, timeout: timedelta = DEFAULT_TIMEOUT, service: str = ""
    ) -> None:
        super().__init__(inner)
        self._outgoing = outgoing
        self._service = service
        self._timeout_s = timeout.total_seconds()

    def _unary(self, inner: grpc.aio.UnaryUnaryMultiCallable[Any, Any]) -> "CallerUnary":
        return CallerUnary(inner, self._outgoing, self._timeout_s, self._service)

    def _stream(self, inner: grpc.aio.UnaryStreamMultiCallable[Any, Any]) -> "CallerStream":
        return CallerStream(inner, self._outgoing, self._service)


class CallerUnary(grpc.aio.UnaryUnaryMultiCallable[Any, Any]):
    """Calls one method with one response."""

    def __init__(
        self, inner: grpc.aio.UnaryUnaryMultiCallable[Any, Any], outgoing: Outgoing, timeout_s: float, service: str
    ) -> None:
        self._inner = inner
        self._service = service
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
        try:
            made = self._inner(
                request,
                timeout=limit,
                metadata=headers,
                **options,
            )
        except UnavailableError as error:  # the circuit is open
            raise _seen_from_here(error, self._service) from None
        return _UnaryCall(made, self._service)


class CallerStream(grpc.aio.UnaryStreamMultiCallable[Any, Any]):
    """Calls one method with a stream of responses."""

    def __init__(self, inner: grpc.aio.UnaryStreamMultiCallable[Any, Any], outgoing: Outgoing, service: str) -> None:
        self._inner = inner
        self._service = service
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
        try:
            made = self._inner(
                request,
                timeout=timeout,
                metadata=headers,
                **options,
            )
        except UnavailableError as error:  # the circuit is open
            raise _seen_from_here(error, self._service) from None
        return _StreamCall(made, self._service)


class _UnaryCall(WrappedUnaryCall):
    def __init__(self, call: grpc.aio.UnaryUnaryCall[Any, Any], service: str) -> None:
        super().__init__(call)
        self._service = service

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the response. Raises StylobateError."""
        try:
            return (yield from self._unary.__await__())
        except grpc.aio.AioRpcError as error:
            raise _seen_from_here(from_rpc_error(error), self._service) from error


class _StreamCall(WrappedStreamCall):
    def __init__(self, call: grpc.aio.UnaryStreamCall[Any, Any], service: str) -> None:
        super().__init__(call)
        self._service = service

    async def read(self) -> Any:
        """Return the next message, ``grpc.aio.EOF`` at the end. Raises StylobateError."""
        try:
            return await self._stream.read()
        except grpc.aio.AioRpcError as error:
            raise _seen_from_here(from_rpc_error(error), self._service) from error


def _seen_from_here(error: StylobateError, service: str) -> StylobateError:
    """Return what a failed call means to a service that made it for somebody.

    One that nobody said, since nobody answered, names who was asked.
    """
    if error.reason == ServiceTokenInvalidError.reason:
        _log.error("service_token_refused_elsewhere", detail=error.detail, service=service)
        return ServiceTokenRefusedError(retry_after=RETRY_AFTER)
    if service and not error.domain and error.code in _UNANSWERED:
        error.metadata.setdefault("service", service)
        if error.reason == UnavailableError.reason:
            error.detail = f"The {service} service does not answer at the moment."
        elif error.reason == DeadlineExceededError.reason:
            error.detail = f"The {service} service did not answer in the time that it was given."
    return error
