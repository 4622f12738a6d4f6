"""The WebSocket endpoint: a protocol class for uvicorn's ``ws=``, from the upgrade request to the last byte.

uvicorn makes an instance per upgrade, calls ``connection_made``, hands it the raw request and then the transport. No ASGI
is involved; the server's shutdown calls :meth:`RealtimeProtocol.shutdown`.
"""

import asyncio
import socket
import traceback
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, ClassVar, cast

from stylobate.clients.limit_outcome import carried_limit
from stylobate.errors import StylobateError
from stylobate.http.asgi import limit_headers
from stylobate.http.problem import whole_answer
from stylobate.identity import ClientAddresses, client_agent
from stylobate.ids import new_id, request_id_of
from stylobate.logs import get_logger

from stylobate_realtime.codes import INTERNAL_SERVER_ERROR, SHUTDOWN, TOO_MANY_PINGS, Disconnect
from stylobate_realtime.doorkeeper import Doorkeeper
from stylobate_realtime.protocol import Codec
from stylobate_realtime.protocol.json_codec import JsonCodec
from stylobate_realtime.protocol.protobuf_codec import ProtobufCodec
from stylobate_realtime.session import ClientSession
from stylobate_realtime.websocket_manager import WebSocketManager
from stylobate_realtime.wire.framing import (
    PROTOCOL_ERROR,
    FrameReader,
    FramingError,
    Opcode,
    close_code,
    close_frame,
    frame,
)
from stylobate_realtime.wire.handshake import UpgradeRequest
from stylobate_realtime.write_queue import CALM, Unsent

_HEAD_END = b"\r\n\r\n"
_SEND_BUFFER = 131_072
_RECEIVE_BUFFER = 32_768
"""Bounds what is read at once, too."""
_PINGS = 100
_PINGS_WITHIN_S = 10.0
"""A client that sends more control frames within this time is closed."""
_log = get_logger("app")
_security = get_logger("security")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What all connections of an endpoint share."""

    manager: WebSocketManager
    json: Codec
    protobuf: Codec
    addresses: ClientAddresses
    doorkeeper: Doorkeeper
    unsent: Unsent


class RealtimeProtocol(asyncio.Protocol):
    """One socket. See :func:`protocol_class`."""

    __slots__ = (
        "_amid_at", "_blocked_at", "_close_timer", "_connections", "_has_sent_close", "_is_deaf", "_loop", "_opening", "_own",
        "_pings", "_pings_since", "_reader", "_session", "_transport",
    )  # fmt: skip
    endpoint: ClassVar[Endpoint]

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:  # noqa: ARG002  uvicorn's
        self._connections: set[Any] = server_state.connections
        self._loop: asyncio.AbstractEventLoop = _loop or asyncio.get_running_loop()
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set by connection_made, before anything else
        self._session: ClientSession | None = None
        self._opening: asyncio.Task[None] | None = None
        self._reader = FrameReader(self.endpoint.manager.settings.frame_bytes)
        self._close_timer: asyncio.TimerHandle | None = None
        self._has_sent_close = self._is_deaf = False
        self._blocked_at = self._amid_at = self._pings_since = 0.0
        self._pings = self._own = 0

    # what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket over from the HTTP server."""
        self._connections.add(self)
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=CALM)
        raw = transport.get_extra_info("socket")
        if raw is not None:
            with suppress(OSError):  # smaller kernel buffers show earlier who is slow
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)

    def data_received(self, data: bytes) -> None:
        """Take the upgrade request, whole; from then on frames. Whatever comes, nothing is raised into the server."""
        try:
            if self._is_deaf:
                return
            if self._session is None:
                self._upgrade(data)
            else:
                self._read(self._session, data)
        except Exception as error:  # noqa: BLE001  a defect: it ends this connection and no other
            where = error.__traceback__ and traceback.extract_tb(error.__traceback__)[-1]
            _log.error("realtime_connection_failed", error=f"{type(error).__name__}: {error}"[:500], where=str(where))
            self._is_deaf = True
            if self._session is None:
                self._transport.abort()
            else:
                self._session.end(INTERNAL_SERVER_ERROR)

    def _read(self, session: ClientSession, data: bytes) -> None:
        try:
            for opcode, payload in self._reader.feed(data):
                self._amid_at = 0.0
                self._take(opcode, payload)
            if self._reader.is_amid and not self._amid_at and not self._reader.is_paused:
                self._amid_at = self._loop.time()
                session.amid()
        except FramingError as error:
            self._is_deaf = True  # where the next frame would begin is unknown
            session.lost(error.code)
            self._send_close(error.code, error.reason)

    def eof_received(self) -> None:
        """Let the transport close."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  how it was lost does not matter
        """Forget the socket."""
        self._connections.discard(self)
        self._settle_own()
        if self._opening is not None:
            self._opening.cancel()
        if self._close_timer is not None:
            self._close_timer.cancel()
        if self._session is not None:
            self._session.lost()

    def pause_writing(self) -> None:
        """Note that the peer takes too little."""
        self._blocked_at = self._loop.time()
        if self._session is not None:
            self._session.blocked()

    def resume_writing(self) -> None:
        """Note that the peer has caught up."""
        self._blocked_at = 0.0
        self._settle_own()

    def _settle_own(self) -> None:
        if self._own:
            self.endpoint.unsent.add(-self._own)
            self._own = 0

    def shutdown(self) -> None:
        """Close in a way that makes clients connect again: the server stops."""
        if self._session is None:
            self._transport.close()
        else:
            self.endpoint.manager.retire(self._session)

    # what the session calls

    def write(self, data: bytes, own: int) -> bool:
        """Write frames; False when the peer is too far behind, or is behind while too much waits for all together."""
        transport = self._transport
        if transport.is_closing():
            return True  # it is about to be told that the connection is lost
        transport.write(data)
        size = transport.get_write_buffer_size()
        if size <= CALM:
            return True
        self._own += own
        self.endpoint.unsent.add(own)
        return size <= self.endpoint.manager.settings.queue_bytes and not self.endpoint.unsent.is_full

    def amid_since(self) -> float:
        """Return the time since which a message of the peer is not whole; 0: there is none."""
        return self._amid_at

    def descriptor(self) -> int:
        """Return the socket's, while nothing waits to be written to it; -1: something does, or it speaks TLS.

        It is the socket's for as long as the transport has not said that the connection is lost.
        """
        transport = self._transport
        if transport.is_closing() or transport.get_write_buffer_size() or transport.get_extra_info("sslcontext") is not None:
            return -1
        return cast("socket.socket", transport.get_extra_info("socket")).fileno()

    def blocked_since(self) -> float:
        """Return the time since which the peer takes too little; 0: it keeps up."""
        return self._blocked_at

    def close(self, disconnect: Disconnect) -> None:
        """Send the close frame behind what was written."""
        self._send_close(disconnect.code, disconnect.reason, patience_s=1.0 if disconnect is SHUTDOWN else 0.0)

    def abort(self) -> None:
        """Drop the connection."""
        self._has_sent_close = True
        self._transport.abort()

    def set_reading(self, reading: bool) -> None:
        """Stop or resume reading."""
        if self._transport.is_closing():
            return
        self._reader.is_paused = not reading
        if reading:
            self._transport.resume_reading()
            self._loop.call_soon(self.data_received, b"")  # what was read and not looked at
        else:
            self._transport.pause_reading()

    # the WebSocket

    def _upgrade(self, data: bytes) -> None:
        """Check the request at once and charge it; nothing more is read until that is decided."""
        head, _, rest = data.partition(_HEAD_END)
        endpoint = self.endpoint
        request = None
        try:
            request = UpgradeRequest.parse(head)
            endpoint.doorkeeper.check(request)
        except StylobateError as error:
            self._refuse(error, request)
            return
        peer = self._transport.get_extra_info("peername")
        forwarded = request.headers.get("x-forwarded-for", ())
        address = endpoint.addresses.of(peer[0] if isinstance(peer, tuple) else None, forwarded)
        self._transport.pause_reading()
        self._opening = self._loop.create_task(self._open(request, address, rest))

    async def _open(self, request: UpgradeRequest, address: str, rest: bytes) -> None:
        turn = None
        try:
            turn = await self.endpoint.manager.openings.turn(address)
            await self._let_in(request, address, rest)
        except StylobateError as error:
            self._refuse(error, request)
        finally:
            self._opening = None  # a task that has ended holds a sixth of an idle socket's memory
            if turn is not None:
                turn.end()

    async def _let_in(self, request: UpgradeRequest, address: str, rest: bytes) -> None:
        endpoint = self.endpoint
        await endpoint.doorkeeper.charge(address)
        credential, is_in_cookie = endpoint.doorkeeper.credential(request)
        if self._transport.is_closing():
            return
        self._transport.write(request.response())
        codec = endpoint.protobuf if request.wants_protobuf else endpoint.json
        self._session = endpoint.manager.session(self, codec, address, client_agent(request.header("user-agent")))
        self._session.token, self._session.is_token_in_cookie = credential, is_in_cookie
        self._transport.resume_reading()
        if rest:
            self.data_received(rest)

    def _refuse(self, error: StylobateError, request: UpgradeRequest | None) -> None:
        if self._transport.is_closing():
            return
        self._has_sent_close = self._is_deaf = True
        asked, path = (request_id_of(request.header("x-request-id")), request.path) if request else (new_id(), "")
        _security.info("realtime_upgrade_refused", code=error.reason, request_id=asked)
        headers = [(b"date", formatdate(usegmt=True).encode()), *limit_headers(carried_limit(error))]
        self._transport.write(whole_answer(error, headers, request_id=asked, instance=path))
        self._transport.close()

    def _take(self, opcode: int, payload: bytes) -> None:
        assert self._session is not None  # noqa: S101  for the type checker
        if opcode == Opcode.CLOSE:
            self._peer_closes(payload)
        elif self._has_sent_close:
            return  # what crosses our close is not carried out
        elif opcode in (Opcode.PING, Opcode.PONG):
            self._control(self._session, opcode, payload)
        else:
            self._session.receive(payload)

    def _control(self, session: ClientSession, opcode: int, payload: bytes) -> None:
        now = self._loop.time()
        if now - self._pings_since > _PINGS_WITHIN_S:
            self._pings, self._pings_since = 0, now
        self._pings += 1
        if self._pings > _PINGS:
            session.end(TOO_MANY_PINGS)
        elif opcode == Opcode.PING:
            session.send(frame(Opcode.PONG, payload))

    def _peer_closes(self, payload: bytes) -> None:
        assert self._session is not None  # noqa: S101  for the type checker
        code = close_code(payload)
        self._session.lost()
        if not self._has_sent_close:
            self._has_sent_close = True
            self._transport.write(close_frame(code, ""))
        self._transport.close()

    def _send_close(self, code: int, reason: str, patience_s: float = 0.0) -> None:
        if self._has_sent_close:
            return
        self._has_sent_close = True
        if self._transport.is_closing():
            return
        self._transport.write(close_frame(code, reason))
        if code == PROTOCOL_ERROR:
            self._transport.close()  # a peer that breaks the framing will not answer in it
            return
        patience_s = patience_s or self.endpoint.manager.settings.close_timeout.total_seconds()
        self._close_timer = self._loop.call_later(patience_s, self._transport.abort)


def protocol_class(manager: WebSocketManager) -> type[RealtimeProtocol]:
    """Return the class for uvicorn's ``ws=``, bound to the manager."""
    settings = manager.settings
    endpoint = Endpoint(
        manager,
        JsonCodec(),
        ProtobufCodec(),
        ClientAddresses(settings.trusted_proxies),
        Doorkeeper(settings, manager.edge),
        Unsent(settings.unsent_bytes),
    )
    return type("BoundRealtimeProtocol", (RealtimeProtocol,), {"__slots__": (), "endpoint": endpoint})
