"""A ``grpc.aio`` channel to servicers of the same process, and what it calls."""

import asyncio
from typing import Any

import grpc
import grpc.aio

from stylobate.rpc.local.call import LocalCall
from stylobate.rpc.local.stream import LocalStreamMethod
from stylobate.rpc.local.unary import LocalUnaryMethod
from stylobate.rpc.method import ClientChannel, Decode, Encode
from stylobate.rpc.servicers import Servicers

_STOPPING = "the server is shutting down"


class LocalServer:
    """Serves a :class:`Servicers` to channels of the same process and loop.

    Calls before :meth:`start` and after :meth:`stop` are answered UNAVAILABLE; those to a method that nobody registered
    UNIMPLEMENTED.
    """

    def __init__(self, servicers: Servicers) -> None:
        self.servicers = servicers
        self._changed = asyncio.Event()
        self.started = asyncio.Event()
        self.is_accepting = False
        self.live: set[LocalCall] = set()
        """Calls being served: the strong references that keep their tasks."""

    async def start(self) -> None:
        """Accept calls from now on."""
        self.servicers.handlers.begin_streams()
        self.is_accepting = True
        self.started.set()
        self._change()

    async def stop(self, grace: float | None = None) -> None:
        """Accept no more calls, wait for those under way, then end what is left.

        :param grace: seconds to wait; None ends all at once. Handlers that ignore their cancellation are not waited for.
        """
        self.is_accepting = False
        self._change()
        self.servicers.handlers.end_streams()
        if self.live and grace:
            await asyncio.wait([call.ended for call in self.live], timeout=grace)
        for call in tuple(self.live):
            call.end(grpc.StatusCode.UNAVAILABLE, _STOPPING)
        if self.live:
            await asyncio.wait([call.ended for call in self.live], timeout=1.0)

    async def changed(self) -> None:
        """Wait until the server starts or stops."""
        await self._changed.wait()

    def _change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class LocalChannel(ClientChannel):
    """Takes unmodified generated stubs. May be made before the server starts and before anything is registered.

    Closing it refuses further calls; those under way go on (they are the server's to end).
    """

    is_local = True

    def __init__(self, server: LocalServer) -> None:
        self.server = server
        self.is_closed = False
        """Whether calls are refused for good."""

    def method(self, name: str, encode: Encode, decode: Decode, *, is_stream: bool) -> Any:
        """Return what calls a method, with one response or a stream of them."""
        return (LocalStreamMethod if is_stream else LocalUnaryMethod)(self, name, encode, decode)

    async def close(self, grace: float | None = None) -> None:  # noqa: ARG002  grpc's signature
        """Refuse further calls."""
        self.is_closed = True

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: ARG002  grpc's signature
        """Return READY while the server accepts calls."""
        if self.is_closed:
            return grpc.ChannelConnectivity.SHUTDOWN
        return grpc.ChannelConnectivity.READY if self.server.is_accepting else grpc.ChannelConnectivity.IDLE

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the state is another one."""
        while self.get_state() is last_observed_state:
            await self.server.changed()

    async def channel_ready(self) -> None:
        """Wait until the server has started."""
        await self.server.started.wait()
