"""The channel that services call each other through, local or remote.

A grpc.aio client interceptor would start a task of its own per call; here a call passes one object.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from datetime import timedelta
from time import monotonic
from typing import Any

import grpc
import grpc.aio

from stylobate.errors import DeadlineExceededError, StylobateError, UnavailableError
from stylobate.logs import get_logger
from stylobate.rpc.breaker import Guard
from stylobate.rpc.call import Call, HandedOn, current_call, passed_on
from stylobate.rpc.handles import CallHandle, StreamHandle
from stylobate.rpc.interceptors.service_caller import ServiceTokenInvalidError
from stylobate.rpc.local.here import Here
from stylobate.rpc.local.unary import LocalUnaryMethod
from stylobate.rpc.method import ClientChannel, Decode, Encode, Metadata
from stylobate.rpc.status import RETRY_AFTER, from_rpc_error
from stylobate.telemetry.traceparent import is_sampled

_UNANSWERED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
DEFAULT_TIMEOUT = timedelta(seconds=5)
_log = get_logger("security")


class ServiceTokenRefusedError(UnavailableError):
    """Another service did not accept this one's token: not the caller's fault, who is told 503 and not 401."""

    reason = "SERVICE_TOKEN_REFUSED"
    default_detail = "A service of the platform was not believed by another one."
    cure = "See the security log of the service that refused: a key that it does not know, or clocks that differ."


class GuardedChannel(ClientChannel):
    """Makes no call while the target is known not to answer. Calls fail with the transport's own errors.

    :param guard: of the target; None: every call is made.
    """

    def __init__(self, inner: grpc.aio.Channel, guard: Guard | None = None) -> None:
        self.inner = inner
        self.guard = guard
        self.is_local = getattr(inner, "is_local", False)
        self._methods: dict[tuple[str, Encode, Decode], Any] = {}

    def begin(self, timeout: float | None, metadata: Any, *, is_stream: bool) -> tuple[float | None, Any]:  # noqa: ARG002
        """Return the timeout in seconds and the metadata that a call goes with. Raises StylobateError: it is not made."""
        return timeout, metadata

    def seen(self, error: grpc.aio.AioRpcError | UnavailableError) -> Exception:
        """Return what the caller is told of a call that failed, or was not made."""
        return error

    def method(self, name: str, encode: Encode, decode: Decode, *, is_stream: bool) -> Any:
        """Return what calls a method; the same object each time, so that a stub costs little to make."""
        key = (name, encode, decode)
        if key not in self._methods:
            inner = self.inner.unary_stream(*key) if is_stream else self.inner.unary_unary(*key)
            self._methods[key] = _Method(self, inner, is_stream=is_stream)
        return self._methods[key]

    async def close(self, grace: float | None = None) -> None:
        """Close the channel within."""
        if self.guard is not None:
            self.guard.close()
        await self.inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the state of the channel within."""
        return self.inner.get_state(try_to_connect=try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the state is another one."""
        await self.inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until connected."""
        await self.inner.channel_ready()


class CallerChannel(GuardedChannel):
    """Adds to each call what goes with it and how long it may take, and raises the StylobateError that it failed with.

    The deadline is the timeout given (a default where none is) or what is left of the call being served, whichever is
    less; a stream has none unless one is given.

    :param inner: a local channel, or one of :func:`stylobate.rpc.open_channel`.
    :param token: makes this service's tokens for the one that is called (``ServiceIdentity.to``); None: none goes along.
    :param service: who is called; named in the errors of calls that it did not answer.
    """

    def __init__(
        self,
        inner: grpc.aio.Channel,
        token: Callable[[], str] | None,
        timeout: timedelta = DEFAULT_TIMEOUT,
        service: str = "",
    ) -> None:
        if isinstance(inner, GuardedChannel):  # a call is to pass one object, not two
            super().__init__(inner.inner, inner.guard)
        else:
            super().__init__(inner)
        self.token = token
        self._service = service
        self._timeout_s = timeout.total_seconds()
        self._loop: asyncio.AbstractEventLoop | None = None  # kept: asking for it is a system call

    def begin(self, timeout: float | None, metadata: Any, *, is_stream: bool) -> tuple[float | None, Any]:
        """Add what goes along; metadata that is given wins over what would be sent under the same key.

        :raises DeadlineExceededError: the call being served has no time left.
        """
        call = current_call.get()
        if not is_stream:
            timeout = self.time_for(call, timeout)
        if self.is_local and not metadata and self.token is not None:
            return timeout, HandedOn(self.token(), call)
        return timeout, outgoing(self.token, call, metadata)

    def time_for(self, call: Call | None, timeout: float | None) -> float:
        """Return how many seconds a call may take that is made for another one. Raises DeadlineExceededError: none are left."""
        timeout = self._timeout_s if timeout is None else timeout
        if call is not None and call.deadline:
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            timeout = min(timeout, call.deadline - self._loop.time())
            if timeout <= 0:
                raise DeadlineExceededError  # a real channel might still send it
        return timeout

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


def outgoing(
    token: Callable[[], str] | None, call: Call | None, explicit: Sequence[tuple[str, str | bytes]] | None = None
) -> Metadata:
    """Return the metadata of a call: this service's token, and what the call being served brought along.

    Outside of any call the service speaks in its own name; inside of one only where that call does.

    :param call: the call being served; None outside of any.
    :param explicit: wins over what stands here under the same key.
    """
    pairs = passed_on("" if token is None else token(), call).items()
    if explicit:
        keys = {key for key, _ in explicit}
        return (*(pair for pair in pairs if pair[0] not in keys), *explicit)
    return tuple(pairs)


def asking(method: Any) -> Any:
    """Return what asks a stub's method for its response: ``ask`` of :class:`_Method`, else the method itself."""
    return getattr(method, "ask", method)


def here_of(method: Any) -> Here | None:
    """Return the way to a stub's method whose servicer is in this process; None: there are only calls."""
    return method.here() if isinstance(method, _Method) else None


def asking_plainly(method: Any) -> Callable[..., Awaitable[Any] | None]:
    """Return what calls a stub's method by plain values, see ``ask_plainly`` of :class:`_Method`; elsewhere none is made."""
    return method.ask_plainly if isinstance(method, _Method) and method.is_plain else lambda *_: None


class _Method:
    """Calls one method."""

    def __init__(self, channel: GuardedChannel, inner: Any, *, is_stream: bool) -> None:
        self._channel = channel
        self._inner = inner
        self._is_stream = is_stream
        self._ask = None if is_stream or channel.guard is not None else getattr(inner, "ask", None)

    def ask(self, request: Any, *, timeout: float | None = None, metadata: Any = None) -> Awaitable[Any]:
        """Call, and return what to await, at once and in the same task, for the response: for less than a call."""
        if self._ask is None:
            called: Awaitable[Any] = self(request, timeout=timeout, metadata=metadata)
            return called
        channel = self._channel
        timeout, metadata = channel.begin(timeout, metadata, is_stream=False)
        asked: Awaitable[Any] = self._ask(request, timeout, metadata, channel.seen)
        return asked

    def here(self) -> Here | None:
        """Return the way to a servicer of this process, for who has a token."""
        channel = self._channel
        if self._ask is None or not isinstance(channel, CallerChannel) or channel.token is None:
            return None
        return Here(self._inner, self.ask, channel.token) if isinstance(self._inner, LocalUnaryMethod) else None

    @property
    def is_plain(self) -> bool:
        """Whether a servicer of this process may be called by plain values: by who has a token."""
        channel = self._channel
        has_token = isinstance(channel, CallerChannel) and channel.token is not None
        return has_token and self._ask is not None and isinstance(self._inner, LocalUnaryMethod)

    def ask_plainly(self, timeout: float | None, *values: Any) -> Awaitable[Any] | None:
        """Call by plain values (``LocalUnaryMethod.ask_plainly``), and return what to await, at once and in the same task.

        Returns None where only a call with messages will do. ``timeout`` in seconds. Raises as :meth:`ask` does.
        """
        caller = current_call.get()
        if caller is None or not caller.request_id or not caller.traceparent or is_sampled(caller.traceparent):
            return None
        channel: Any = self._channel
        asked: Awaitable[Any] | None = self._inner.ask_plainly(
            channel.token(), caller, channel.time_for(caller, timeout), values, channel.seen
        )
        return asked

    def __call__(self, request: Any, *, timeout: float | None = None, metadata: Any = None, **options: Any) -> Any:
        """Begin the call. ``timeout`` in seconds. Raises what the channel refuses with."""
        channel = self._channel
        timeout, metadata = channel.begin(timeout, metadata, is_stream=self._is_stream)
        if channel.guard is not None and channel.guard.breaker.is_open:
            raise channel.seen(UnavailableError(retry_after=RETRY_AFTER))
        call = self._inner(request, timeout=timeout, metadata=metadata, **options)
        # the end of a stream says nothing of the target: servers end connections that came of age
        return StreamHandle(call, channel.seen) if self._is_stream else _UnaryHandle(call, channel)


class _UnaryHandle(CallHandle):
    """A call with one response. Its channel's guard takes note of how it ended."""

    def __init__(self, call: Any, channel: GuardedChannel) -> None:
        self._call = call
        self._channel = channel
        self._begun = 0.0 if channel.guard is None else monotonic()

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the response. Raises what the channel makes of an error."""
        guard = self._channel.guard
        try:
            response = yield from self._call.__await__()
        except grpc.aio.AioRpcError as error:
            if guard is not None:
                guard.failed(error, self._begun)
            seen = self._channel.seen(error)
            if seen is error:
                raise
            raise seen from error
        if guard is not None:
            guard.answered()
        return response
