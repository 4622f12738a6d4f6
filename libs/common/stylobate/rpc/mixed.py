"""Doors that take plain text and TLS at one address, while TLS is turned on: the first octet says which it is."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from ssl import SSLContext

from stylobate.stopping import end

_HANDSHAKE = b"\x16"
"""Of a TLS record; HTTP/2 in plain text begins with ``P``."""
_BACKLOG = 512
_BUFFER = 64 * 1024


class MixedDoor:
    """Accepts at one address. :meth:`start` it; :meth:`close` lets no more come, :meth:`end` ends what is open.

    :param greet_s: in which the first octet must come.
    """

    def __init__(self, listening: socket.socket, greet_s: float = 10.0) -> None:
        self._listening, self._greet_s = listening, greet_s
        listening.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._open: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        port: int = self._listening.getsockname()[1]
        return port

    def start(self) -> None:
        """Begin to accept."""
        self._accepting = self._loop.create_task(self._accept(), name="take plain text and TLS")

    def close(self) -> None:
        """Let no more come."""
        if self._accepting is not None:
            self._accepting.cancel()
        self._listening.close()

    async def end(self) -> None:
        """End what is open."""
        await end(self._open)

    async def serve(self, accepted: socket.socket, *, is_tls: bool) -> None:
        """Take over a connection. Raises OSError."""
        raise NotImplementedError

    async def _accept(self) -> None:
        while True:
            try:
                accepted, _ = await self._loop.sock_accept(self._listening)
            except OSError:  # of a connection that is gone already, or no descriptor is left
                await asyncio.sleep(0.01)
                continue
            task = self._loop.create_task(self._begin(accepted))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    async def _begin(self, accepted: socket.socket) -> None:
        try:
            accepted.setblocking(False)
            async with asyncio.timeout(self._greet_s):
                await self._readable(accepted)
            first = accepted.recv(1, socket.MSG_PEEK)
            if first:
                await self.serve(accepted, is_tls=first == _HANDSHAKE)
            else:
                accepted.close()
        except (OSError, TimeoutError):
            accepted.close()

    async def _readable(self, accepted: socket.socket) -> None:
        is_readable = asyncio.Event()
        self._loop.add_reader(accepted, is_readable.set)
        try:
            await is_readable.wait()
        finally:
            self._loop.remove_reader(accepted)


class ProtocolDoor(MixedDoor):
    """Gives each connection a protocol, with TLS in between or without.

    :param made: makes the protocol.
    """

    def __init__(self, listening: socket.socket, made: Callable[[], asyncio.Protocol], tls: SSLContext, greet_s: float) -> None:
        super().__init__(listening, greet_s)
        self._made, self._tls = made, tls

    async def serve(self, accepted: socket.socket, *, is_tls: bool) -> None:
        """Connect the protocol."""
        if is_tls:
            greet_s = self._greet_s
            await self._loop.connect_accepted_socket(self._made, accepted, ssl=self._tls, ssl_handshake_timeout=greet_s)
        else:
            await self._loop.connect_accepted_socket(self._made, accepted)


class RelayDoor(MixedDoor):
    """Passes each connection on to a listener of this machine: gRPC's own sockets take one of the two only.

    :param plain: the port of the loopback interface that takes plain text. :param tls: the one that takes TLS.
    """

    def __init__(self, listening: socket.socket, plain: int, tls: int) -> None:
        super().__init__(listening)
        self._plain, self._tls = plain, tls

    async def serve(self, accepted: socket.socket, *, is_tls: bool) -> None:
        """Carry octets both ways until one side ends."""
        async with asyncio.TaskGroup() as group:
            reader, writer = await asyncio.open_connection(sock=accepted)
            try:
                inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._tls if is_tls else self._plain)
            except OSError:
                writer.close()
                return
            group.create_task(_carry(reader, inner_writer))
            group.create_task(_carry(inner_reader, writer))


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry octets one way, to the end."""
    try:
        while data := await reader.read(_BUFFER):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        with suppress(OSError):
            writer.close()


def listening_at(address: str, *, reuse_port: bool) -> socket.socket:
    """Return a socket that listens at ``host:port``. Raises OSError."""
    host, _, port = address.rpartition(":")
    family, kind, protocol, _, place = socket.getaddrinfo(
        host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(place)
        made.listen(_BACKLOG)
    except OSError:
        made.close()
        raise
    return made
