"""The channel that services call each other through, local or remote."""

import asyncio
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
from stylobate.rpc.wrapped import WrappedChannel

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
        self._loop: asyncio.AbstractEventLoop | None = None  # kept: asking for it is a system call

    def begin(self, timeout: float | None, metadata: Any, *, is_stream: bool) -> tuple[float | None, Any]:
        """Add what goes along; metadata that is given wins over what would be sent under the same key.

        :raises DeadlineExceededError: the call being served has no time left.
        """
        call = current_call.get()
        if is_stream:
            return timeout, self._outgoing.metadata(call, metadata or ())
        limit = self._timeout_s if timeout is None else timeout
        if call is not None and call.deadline:
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            limit = min(limit, call.deadline - self._loop.time())
            if limit <= 0:
                raise DeadlineExceededError  # a real channel might still send it
        return limit, self._outgoing.metadata(call, metadata or ())

    def seen(self, error: grpc.aio.AioRpcError | UnavailableError) -> StylobateError:
        """Return what a failed call means to a service that made it for somebody.

        One that nobody said, since nobody answered, names who was asked.
        """
        told = from_rpc_error(error) if isinstance(error, grpc.aio.AioRpcError) else error
        service = self._service
        if told.reason == ServiceTokenInvalidError.reason:
            _log.error("service_token_refused_elsewhere", detail=told.detail, service=service)
            return ServiceTokenRefusedError(retry_after=RETRY_AFTER)
        if service and not told.domain and told.code in _UNANSWERED:
            told.metadata.setdefault("service", service)
            if told.reason == UnavailableError.reason:
                told.detail = f"The {service} service does not answer at the moment."
            elif told.reason == DeadlineExceededError.reason:
                told.detail = f"The {service} service did not answer in the time that it was given."
        return told
