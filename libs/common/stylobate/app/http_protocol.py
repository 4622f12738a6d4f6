"""The HTTP protocol of the listeners: uvicorn's, with each answer leaving in one write.

uvicorn writes the head and the body of an answer apart, and uvloop passes every write to the system at once. What is written
in one turn of the loop is joined here: one system call, one packet and one wake-up of the peer fewer per request.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MOST_HELD = 64 * 1024


class JoinedWrites:
    """A transport that holds back what is written until the loop's turn ends; everything else goes straight through.

    More than 64 KiB are not held: a long answer is written as it comes, so that the transport can say when it is full.
    """

    __slots__ = ("_held", "_loop", "_size", "transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        """Return the transport's own attribute."""
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        """Hold the data until the turn ends."""
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)
        self._size += len(data)
        if self._size > _MOST_HELD:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            self.transport.write(b"".join(self._held))
            self._held.clear()
            self._size = 0

    def close(self) -> None:
        """Close after what is held."""
        self.flush()
        self.transport.close()


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        """Put the joining transport in front of the server's."""
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]  # has all that is asked of it

    def handle_websocket_upgrade(self) -> None:
        """Give the bare transport to who takes the connection over."""
        transport: Any = self.transport
        transport.flush()
        self.transport = transport.transport
        super().handle_websocket_upgrade()
