"""The local side of a process's servicers: what a LocalChannel calls."""

import asyncio
from typing import Protocol

import grpc

from stylobate.rpc.method import Behaviour
from stylobate.rpc.servicers import Servicers

_STOPPING = "the server is shutting down"


class Running(Protocol):
    """A call that is being served."""

    task: asyncio.Task[None]

    def end(self, code: grpc.StatusCode, details: str) -> None:
        """Answer the caller now and cancel the handler."""


class LocalServer:
    """Serves a :class:`Servicers` to channels of the same process and loop.

    Calls before :meth:`start` and after :meth:`stop` are answered UNAVAILABLE; those to a method that nobody registered
    UNIMPLEMENTED.
    """

    def __init__(self, servicers: Servicers) -> None:
        self._servicers = servicers
        self._changed = asyncio.Event()
        self.started = asyncio.Event()
        self.is_accepting = False
        self.live: set[Running] = set()
        """Calls being served: the strong references that keep their tasks."""

    async def start(self) -> None:
        """Accept calls from now on."""
        self._servicers.begin_streams()
        self.is_accepting = True
        self.started.set()
        self._change()

    async def stop(self, grace: float | None = None) -> None:
        """Accept no more calls, wait for those under way, then end what is left.

        :param grace: seconds to wait; None ends all at once. Handlers that ignore their cancellation are not waited for.
        """
        self.is_accepting = False
        self._change()
        self._servicers.end_streams()
        if self.live and grace:
            await asyncio.wait([call.task for call in self.live], timeout=grace)
        for call in tuple(self.live):
            call.end(grpc.StatusCode.UNAVAILABLE, _STOPPING)
        if self.live:
            await asyncio.wait([call.task for call in self.live], timeout=1.0)

    def behaviour(self, full_name: str) -> Behaviour | None:
        """Return the chain of a method; None when nobody registered it."""
        return self._servicers.behaviour(full_name)

    async def changed(self) -> None:
        """Wait until the server starts or stops."""
        await self._changed.wait()

    def _change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
