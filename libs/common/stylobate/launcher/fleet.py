"""The service processes of a platform: forked from one server, on listening sockets that outlive them, one admin port for all."""

import asyncio
import socket
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
    """What :meth:`open` gives. Nothing runs before :meth:`start`."""

    def __init__(self, layout: Layout, supervisor: Supervisor, server: ForkServer, sockets: Mapping[str, socket.socket]) -> None:
        self._layout = layout
        self._supervisor = supervisor
        self._server = server
        self._sockets = {address: bound.fileno() for address, bound in sockets.items()}
        self._admin = MergedAdmin({p.node: p.admin.removeprefix("unix:") for p in layout.placements})

    @classmethod
    @asynccontextmanager
    async def open(
        cls, layout: Layout, environment: Mapping[str, str], logs: Path, supervisor: Supervisor
    ) -> AsyncIterator["Fleet"]:
        """Listen for the processes that are to come and begin to import what they run. Raises ListenError.

        On leaving the admin port is closed and the processes are ended.
        """
        async with AsyncExitStack() as stack:
            addresses = dict.fromkeys(placement.http for placement in layout.placements if placement.http)
            sockets = {address: stack.enter_context(bind(address)) for address in addresses}
            server = ForkServer(environment, logs, [bound.fileno() for bound in sockets.values()])
            stack.push_async_callback(server.stop)
            server.start()
            stack.push_async_callback(supervisor.stop_services)
            fleet = cls(layout, supervisor, server, sockets)
            stack.push_async_callback(fleet._admin.close)
            yield fleet

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
