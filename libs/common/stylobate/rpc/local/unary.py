"""What calls one method of a local server."""

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from stylobate.deadlines import Deadlines
from stylobate.rpc.local.call import LocalCall, LocalUnaryCall
from stylobate.rpc.local.prompt import PromptCall
from stylobate.rpc.method import Behaviour, Context, Decode, Encode, HandedOn, Prompt

if TYPE_CHECKING:
    from stylobate.rpc.local.channel import LocalChannel


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
        self._loop: asyncio.AbstractEventLoop | None = None  # kept: asking for it is a system call
        self._deadlines: Deadlines | None = None

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
        call = self.asked(request, timeout, metadata, wait_for_ready=wait_for_ready)
        if isinstance(call, PromptCall):
            call.begin_soon()
        return call

    def asked(self, request: Any, timeout: float | None, metadata: Any, *, wait_for_ready: bool | None = None) -> Any:
        """Return a call for somebody who awaits it at once: it need not begin before."""
        server, behaviour, loop = self._server, self._found, self._loop
        if behaviour is None or loop is None or not server.is_accepting or self._channel.is_closed:
            loop = self._loop = asyncio.get_running_loop()
            self._deadlines = Deadlines(loop)
            behaviour = self._behaviour(wait_for_ready=wait_for_ready)
        came = metadata if type(metadata) is HandedOn else tuple(metadata or ())
        data = request if self._encode is None else self._encode(request)
        arguments = server.live, loop, behaviour, data, came, timeout, self._decode
        if self._deadlines is not None and self._is_prompt is not None and self._encode is not None and self._is_prompt(request):
            return PromptCall(self._deadlines, *arguments)
        return self.call(*arguments)

    def _behaviour(self, *, wait_for_ready: bool | None) -> Behaviour:
        """Return the chain, or what answers in its place; raises UsageError when the channel is closed."""
        if self._channel.is_closed:
            raise grpc.aio.UsageError("the channel is closed")
        if not self._server.is_accepting:
            return self._later if wait_for_ready else _unavailable
        servicers = self._server.servicers
        self._found, self._is_prompt = servicers.behaviour(self._method), servicers.prompt(self._method)
        return self._found or _unimplemented

    async def _later(self, data: bytes, context: Context) -> bytes:
        await self._server.started.wait()
        return await self._behaviour(wait_for_ready=False)(data, context)


async def _unavailable(_: bytes, context: Context) -> bytes:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "the service does not serve calls")


async def _unimplemented(_: bytes, context: Context) -> bytes:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
