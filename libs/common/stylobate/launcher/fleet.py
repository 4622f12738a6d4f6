"""The service processes of a platform: forked from one server, on listening sockets that outlive them, one admin port for all."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from stylobate.app.admin_listener import admin_listener
from stylobate.app.listening import bind
from stylobate.app.settings import HostSettings
from stylobate.config import Sources
from stylobate.launcher.forked import ForkServer
from stylobate.launcher.merged_admin import MergedAdmin
from stylobate.launcher.ports import Layout
from stylobate.launcher.supervisor import Supervisor


class Fleet:
    """Listens for the processes that are to come and begins, in a fork, to import what they run. Raises ListenError.

    Nothing is served before :meth:`start`. Made before there is an event loop, which would not survive the fork.
    """

    def __init__(self, layout: Layout, environment: Mapping[str, str], logs: Path) -> None:
        self._layout = layout
        addresses = dict.fromkeys(placement.http for placement in layout.placements if placement.http)
        self._bound = {address: bind(address) for address in addresses}
        self._sockets = {address: bound.fileno() for address, bound in self._bound.items()}
        self._server = ForkServer(environment, logs, list(self._sockets.values()))
        self._server.start(by_fork=True)
        self._admin = MergedAdmin({p.node: p.admin.removeprefix("unix:") for p in layout.placements})
        self._supervisor: Supervisor

    @asynccontextmanager
    async def kept(self, supervisor: Supervisor) -> AsyncIterator[None]:
        """Let the supervisor keep the processes running. On leaving they are ended, and nobody listens any more."""
        self._supervisor = supervisor
        async with AsyncExitStack() as stack:
            for bound in self._bound.values():
                stack.enter_context(bound)
            stack.push_async_callback(self._server.stop)
            stack.push_async_callback(supervisor.stop_services)
            yield

    @asynccontextmanager
    async def start(self) -> AsyncIterator[None]:
        """Start every process and the admin port, and wait until all are ready. Raises EmbeddedServerError, ListenError."""
        for placement in self._layout.placements:
            self._supervisor.start_service(self._server.child(replace(placement, sockets=self._sockets)))
        bound = bind(self._layout.endpoints["admin"].removeprefix("http://"))
        listener = admin_listener(self._admin, bound, hosts=HostSettings.value("admin_hosts", Sources.of_process()))
        await listener.start()
        try:
            await self._supervisor.until(self._admin.wait_ready())
            yield
        finally:
            await listener.stop()

    async def reload(self, *, afresh: bool) -> dict[str, Any]:
        """Replace all processes at once; return what they say of themselves when they are ready.

        :param afresh: whether also what all of them have imported is to be read again: the platform's own sources.
        """
        ending = self._supervisor.restart(*self._supervisor.services)
        if afresh:
            await asyncio.gather(ending, self._server.stop())  # the first fork starts it again
        else:
            await ending
        return await self._admin.until_ready()

    async def restart(self) -> None:
        """Replace one process after the other: with several workers somebody serves at any time."""
        for child in self._supervisor.services:
            await self._supervisor.restart(child)
            await self._admin.until_ready()
