"""A server's listeners for streams, beside those of plain gRPC, whose port tells where they are."""

import asyncio
import os
from collections.abc import Sequence
from datetime import timedelta
from ssl import SSLContext
from typing import Any

import grpc
import msgspec

from stylobate.rpc.local.call import LocalCall
from stylobate.rpc.method import Context
from stylobate.rpc.mixed import ProtocolDoor, listening_at
from stylobate.rpc.mux.items import FIND, Listener
from stylobate.rpc.mux.serving import ServedStream
from stylobate.rpc.servicers import Servicers

MAX_STREAMS = 1024
"""Connections of a process; a client of ours has one, and for a moment two."""
MAX_STREAMS_PER_HOST = 256
"""Of them, so that one host whose clients leak connections leaves room for the others. Unix sockets have no host."""
_BACKLOG = 512
_SOCKET_MODE = 0o600


class MuxServer(grpc.GenericRpcHandler):
    """Serves unary calls that come by streams; as a handler of the plain server it tells where.

    :param port: of the TCP listener; 0: any.
    :param tls: None: no encryption. Not used for unix sockets.
    :param is_mixed: whether connections without it are taken as well.
    :param calls_per_stream: that a stream may have under way; more are refused.
    :param max_calls: the same of the process.
    """

    def __init__(
        self,
        servicers: Servicers,
        *,
        port: int,
        tls: SSLContext | None,
        is_mixed: bool = False,
        max_age: timedelta,
        grace: timedelta,
        calls_per_stream: int,
        max_calls: int,
    ) -> None:
        self.servicers = servicers
        self.max_age_s, self.grace_s = max_age.total_seconds(), grace.total_seconds()
        self.calls_per_stream, self.max_calls = calls_per_stream, max_calls
        self.greet_s = 10.0
        """In which a connection must have called the one method that there is."""
        self.live: set[LocalCall] = set()
        """Calls being served."""
        self.listener = Listener(calls=calls_per_stream)
        self._port, self._tls, self._is_mixed = port, tls, is_mixed
        self._streams: set[ServedStream] = set()
        self._listening: list[asyncio.Server | ProtocolDoor] = []

    async def start(self, addresses: Sequence[str], *, reuse_port: bool) -> None:
        """Listen beside the plain addresses. Raises OSError."""
        loop = asyncio.get_running_loop()

        def made() -> ServedStream:
            return ServedStream(self, loop)

        try:
            for address in addresses:
                if address.startswith("unix:"):
                    path = f"{address.removeprefix('unix:')}.mux"
                    self._listening.append(await loop.create_unix_server(made, path, backlog=_BACKLOG))
                    os.chmod(path, _SOCKET_MODE)  # noqa: PTH101
                    self.listener.path = path
                else:
                    host = address.rpartition(":")[0].strip("[]")
                    port = self.listener.port or self._port  # one for all hosts: that is what is told
                    reuse = reuse_port and port > 0
                    if self._tls is not None and self._is_mixed:
                        at = listening_at(f"{host}:{port}", reuse_port=reuse)
                        door = ProtocolDoor(at, made, self._tls, self.greet_s)
                        door.start()
                        self._listening.append(door)
                        self.listener.port = door.port
                        continue
                    secure: dict[str, Any] = (
                        {} if self._tls is None else {"ssl": self._tls, "ssl_handshake_timeout": self.greet_s}
                    )
                    server = await loop.create_server(made, host, port, backlog=_BACKLOG, reuse_port=reuse, **secure)
                    self._listening.append(server)
                    self.listener.port = server.sockets[0].getsockname()[1]
        except OSError:
            self._stop_listening()
            raise

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        """Return what tells where the listeners are; anyone may know."""
        if handler_call_details.method != FIND:
            return None
        return grpc.unary_unary_rpc_method_handler(self._tell)

    async def _tell(self, _: bytes, context: Context) -> bytes:
        if not self._listening:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        return msgspec.msgpack.encode(self.listener)

    def opened(self, stream: ServedStream) -> bool:
        """Take note of a stream; return whether there is room for it."""
        of_host = sum(other.host == stream.host for other in self._streams) if stream.host else 0
        is_full = len(self._streams) >= MAX_STREAMS or of_host >= MAX_STREAMS_PER_HOST
        if is_full or not self._listening:
            return False
        self._streams.add(stream)
        return True

    def closed(self, stream: ServedStream) -> None:
        """Take note that a stream is over."""
        self._streams.discard(stream)

    @property
    def is_answering(self) -> bool:
        """Whether something of an answer has not been taken yet."""
        return any(stream.is_answering for stream in self._streams)

    async def hand_over(self, within_s: float) -> None:
        """Let no more connections come, and serve until clients have gone elsewhere or found that there is nobody else."""
        self._stop_listening()
        for stream in tuple(self._streams):
            stream.retire()
        if self._streams:
            await asyncio.wait([stream.over for stream in self._streams], timeout=within_s)

    async def drain(self) -> None:
        """Let no more connections and calls come, and wait for the calls under way, however long they take."""
        self._stop_listening()
        for stream in tuple(self._streams):
            stream.stop()
        while self._streams:
            await asyncio.wait([stream.over for stream in self._streams])

    async def stop(self) -> None:
        """End what is left."""
        self._stop_listening()
        for stream in tuple(self._streams):
            stream.close()
        if self.live:
            await asyncio.wait([call.ended for call in self.live], timeout=1.0)

    def _stop_listening(self) -> None:
        listening, self._listening = self._listening, []
        for server in listening:
            server.close()
