"""What calls one method of a local server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from stylobate.deadlines import Deadlines
from stylobate.errors import StylobateError
from stylobate.rpc.call import Call, HandedOn
from stylobate.rpc.local.asked import AskedCall, Seen, told
from stylobate.rpc.local.call import LocalCall, LocalUnaryCall
from stylobate.rpc.local.prompt import PromptCall
from stylobate.rpc.messages import NUL
from stylobate.rpc.method import MAX_MESSAGE_BYTES, Behaviour, Context, Decode, Encode, Passing, Prompt

if TYPE_CHECKING:
    from stylobate.rpc.local.channel import LocalChannel


async def _told(call: Awaitable[Any], seen: Seen) -> Any:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise told(error, seen)  # noqa: B904  it has its cause


class LocalUnaryMethod:
    """Calls one method with one response. Its chain is looked up at the first call that finds it."""

    call: type[LocalCall] = LocalUnaryCall

    def __init__(self, channel: "LocalChannel", method: str, encode: Encode, decode: Decode) -> None:
        self._channel = channel
        self._server = channel.server
        self._method = method
        self._encode = encode
        self._decode = decode
        self._found: Behaviour | None = None
        self._is_prompt: Prompt | None = None
        self._takes_messages = False
        self._passing: Passing | None = None
        self._loop: asyncio.AbstractEventLoop  # kept: asking for it is a system call
        self._deadlines: Deadlines

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        wait_for_ready: bool | None = None,
        **_: Any,
    ) -> Any:
        """Begin the call. ``credentials`` and ``compression`` have no meaning inside a process."""
        behaviour = self._ready(wait_for_ready=wait_for_ready)
        data = request if self._encode is None else self._encode(request)
        came = metadata if type(metadata) is HandedOn else tuple(metadata or ())
        arguments = self._server.live, self._loop, behaviour, data, came, timeout, self._decode
        if self._is_prompt is not None and self._encode is not None and self._is_prompt(request):
            call = PromptCall(self._deadlines, *arguments)
            call.begin_soon()
            return call
        return self.call(*arguments)

    def ask(self, request: Any, timeout: float | None, metadata: Any, seen: Seen | None = None) -> Awaitable[Any]:
        """Call, for somebody who awaits the response at once and in the same task, and needs no handle.

        Unlike all other calls its handler sees the caller's context variables, and the caller's message, which neither of them
        changes; the call being served is its own. What the chain refuses for how it is encoded, it is given encoded.

        :param seen: returns what the caller is told of a call that failed; None: what the transport tells.
        """
        behaviour = self._ready()
        if self._is_prompt is None or not self._is_prompt(request) or (timeout is not None and timeout <= 0):
            call = self(request, timeout=timeout, metadata=metadata)
            return call if seen is None else _told(call, seen)
        data = request if self._encode is None else self._encode(request)
        if self._takes_messages and NUL not in data and len(data) <= MAX_MESSAGE_BYTES:
            data = request
        loop = self._loop
        asked = AskedCall(loop, metadata, None if timeout is None else loop.time() + timeout)
        return asked.answer(behaviour, data, self._server.live, self._deadlines, self._decode, seen)

    def ask_plainly(self, token: str, caller: Call, timeout: float, values: tuple[Any, ...], seen: Seen) -> Awaitable[Any] | None:
        """Call by plain values, for somebody who awaits what is returned as after :meth:`ask`; None: ask that.

        What such a call leaves out is what carries others: the messages, and what a servicer does to read and to write them. It
        passes the same pipeline, which admits it by the service's token, its rights and the user's token, as it admits every call
        that a service makes for somebody. Its deadline, its cancellation, its place among the calls that a stop waits for, its
        count and its errors are those of every other. Whatever is not plain is left to calls with messages: one for somebody who
        is not known by heart yet, one in the service's own name, one that is to be refused, or to a server that does not serve.

        :param token: the service's. :param caller: the call that this one is made for; its trace is not sampled.
        """
        behaviour = self._found
        if self._passing is None or behaviour is None or not self._server.is_accepting or self._channel.is_closed:
            return None
        deadline = self._loop.time() + timeout
        try:
            call = self._passing(token, caller, deadline)
        except StylobateError:
            return None
        if call is None:
            return None
        return AskedCall(self._loop, call, deadline).answer(behaviour, values, self._server.live, self._deadlines, None, seen)

    @property
    def here(self) -> Callable[..., Awaitable[Any]] | None:
        """What serves the method with plain values now; see :mod:`stylobate.rpc.local.here`."""
        is_open = self._server.is_accepting and not self._channel.is_closed
        return self._server.servicers.here(self._method) if is_open else None

    def _ready(self, *, wait_for_ready: bool | None = None) -> Behaviour:
        """Return what serves a call now."""
        found = self._found
        if found is not None and self._server.is_accepting and not self._channel.is_closed:
            return found
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(self._loop)
        return self._behaviour(wait_for_ready=wait_for_ready)

    def _behaviour(self, *, wait_for_ready: bool | None) -> Behaviour:
        """Return the chain, or what answers in its place; raises UsageError when the channel is closed."""
        if self._channel.is_closed:
            raise grpc.aio.UsageError("the channel is closed")
        if not self._server.is_accepting:
            return self._later if wait_for_ready else _unavailable
        servicers = self._server.servicers
        self._found, self._is_prompt = servicers.behaviour(self._method), servicers.prompt(self._method)
        self._takes_messages = self._encode is not None and servicers.takes_messages(self._method)
        self._passing = servicers.passing(self._method)
        return self._found or _unimplemented

    async def _later(self, data: bytes, context: Context) -> Any:
        await self._server.started.wait()
        return await self._behaviour(wait_for_ready=False)(data, context)


async def _unavailable(_: bytes, context: Context) -> bytes:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "the service does not serve calls")


async def _unimplemented(_: bytes, context: Context) -> bytes:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
