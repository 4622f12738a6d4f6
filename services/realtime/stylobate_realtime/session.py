"""One connection's session: its state, its commands in order, its deadlines, its queue of output."""

import asyncio
import math
from typing import Any

from stylobate.identity import ANONYMOUS, Principal

from stylobate_realtime import codes
from stylobate_realtime.codes import Disconnect
from stylobate_realtime.command_queue import CommandQueue
from stylobate_realtime.protocol import Codec
from stylobate_realtime.protocol.messages import ClientInfo, Reply
from stylobate_realtime.session_context import ClientSocket, SessionContext, State
from stylobate_realtime.subscription import Subscription
from stylobate_realtime.wire.framing import Opcode, frame
from stylobate_realtime.write_queue import JOINED


class ClientSession:
    """See the module. Not bound to WebSocket: whole frames come in by :meth:`receive`."""

    __slots__ = (
        "_connection", "_context", "_expires_at", "_own", "_ping_at", "_pong_by", "_presence_at",
        "_queue", "_stale_at", "address", "agent", "client", "codec", "descriptor", "due",
        "frames", "is_token_in_cookie", "leaving", "principal", "renewal", "state", "subscriptions", "token",
    )  # fmt: skip

    def __init__(self, context: SessionContext, connection: ClientSocket, codec: Codec, address: str, agent: str) -> None:
        self._context = context
        self._connection = connection
        self.frames: list[bytes] = []
        """What is queued, whole frames in order."""
        self.descriptor = connection.descriptor()
        """What frames may be written to straight; -1 while something is queued or waits in the transport, and once it ends."""
        self._queue = CommandQueue(self, context, connection)
        self._own = 0
        """Bytes of what is queued that nobody else is sent."""
        self._ping_at = self._pong_by = self._expires_at = self._presence_at = 0.0
        self._stale_at = context.clock() + context.settings.stale_after.total_seconds()
        self.due = 0
        self.codec = codec
        self.address = address
        """Where the client is."""
        self.agent = agent
        """Its user agent."""
        self.client = ""
        """This connection's id, once connected."""
        self.principal: Principal = ANONYMOUS
        self.token = ""
        """What the principal is proven by; before it is connected, what came with the upgrade: a connect may do without one."""
        self.is_token_in_cookie = False
        """Whether a cookie held what came with the upgrade: the client does not know it, and cannot renew it."""
        self.state = State.NEW
        self.subscriptions: dict[str, Subscription] = {}
        self.renewal: asyncio.Task[None] | None = None
        """Renews its presence entries; None while nothing is under way."""
        self.leaving: asyncio.Task[None] | None = None
        """Clears up behind the last subscription that was ended for it, and those before."""
        context.wheel.schedule(self, self._stale_at)

    @property
    def info(self) -> ClientInfo:
        """Who this is, for others."""
        return ClientInfo(user=self.principal.id, client=self.client)

    # what the client sends

    def receive(self, payload: bytes) -> None:
        """Take the payload of a frame: its commands are carried out in order, each after the one before."""
        if self.state is State.CLOSED:
            return
        if payload == self.codec.ping:  # a pong is the same bytes; it does not wait for commands under way
            self.pong()
            return
        self._queue.push(payload)

    def pong(self) -> None:
        """Take the answer to a ping."""
        if self._pong_by:
            self._pong_by = 0.0
        else:
            self.end(codes.MALFORMED)

    @property
    def worker(self) -> "asyncio.Task[None] | None":
        """Carries out its commands; None while there are none."""
        return self._queue.worker

    def bears_misuse(self) -> bool:
        """Count a command that was refused or senseless; False when too many have ended the session."""
        return self._queue.bears_misuse()

    @property
    def has_much_to_send(self) -> bool:
        """Whether answers should leave before more are made."""
        return self._own > JOINED

    # what the client gets

    def reply(self, reply: Reply) -> None:
        """Queue a reply of this session's own, behind what is held for many."""
        self._context.writes.settle()
        encoded = frame(Opcode.TEXT if self.codec.is_text else Opcode.BINARY, self.codec.encode(reply))
        self._own += len(encoded)
        self.send(encoded)

    def send(self, encoded: bytes) -> None:
        """Queue a whole frame, which others may be sent too; what is queued within a loop turn leaves together, in order."""
        if not self.frames:
            self.descriptor = -1
            self._context.writes.add(self)
        self.frames.append(encoded)

    def pass_on(self, encoded: bytes) -> None:
        """Write, behind what waits, what could not be written straight; who is too far behind then is closed."""
        if self.frames:
            self.frames.append(encoded)
        elif self.state is not State.CLOSED:
            self._write([encoded], 0)

    def flush(self) -> None:
        """Write what is queued."""
        frames, own = self.frames, self._own
        if not frames or self.state is State.CLOSED:
            return
        self.frames, self._own = [], 0
        if len(frames) > 1 and sum(map(len, frames)) <= JOINED:
            frames = [b"".join(frames)]
        self._write(frames, own)

    def _write(self, frames: list[bytes], own: int) -> None:
        for data in frames:
            if not self._connection.write(data, own):
                self.end(codes.SLOW)
                return
            own = 0
        self.descriptor = self._connection.descriptor()

    # its life

    def connected(self, client: str, principal: Principal, token: str, expires_at: float) -> None:
        """Note who it is; deadlines run from here. ``expires_at`` is on the session's clock."""
        settings = self._context.settings
        now = self._context.clock()
        self.client = client
        self.state = State.CONNECTED
        self.authenticated(principal, token, expires_at)
        self._stale_at = 0.0
        self._ping_at = now + settings.ping_interval.total_seconds() * self._context.random.uniform(0.5, 1.0)
        self._context.wheel.schedule(self, self._ping_at)

    def authenticated(self, principal: Principal, token: str, expires_at: float) -> None:
        """Note a new token of the same user."""
        self.principal = principal
        self.token = token
        self._expires_at = expires_at + self._context.settings.expiry_grace.total_seconds()
        self._context.wheel.schedule(self, self._expires_at)

    def keep_present(self) -> None:
        """Renew presence from now on, the first time after a random part of the interval."""
        if not self._presence_at:
            interval = self._context.settings.presence_refresh.total_seconds()
            self._presence_at = self._context.clock() + interval * self._context.random.uniform(0.1, 1.0)
            self._context.wheel.schedule(self, self._presence_at)

    def tick(self, now: float) -> float:
        """Do what is due; return the next deadline."""
        if self.state is State.CLOSED:
            return 0.0
        ending = self._overdue(now)
        if ending is not None:
            self.end(ending)
            return 0.0
        settings = self._context.settings
        if self._ping_at and now >= self._ping_at:
            self._ping_at = now + settings.ping_interval.total_seconds()
            self._pong_by = now + settings.pong_timeout.total_seconds()
            self._context.writes.settle()
            self.send(_PINGS[self.codec.is_text])
        if self._presence_at and now >= self._presence_at:
            self._presence_at = now + settings.presence_refresh.total_seconds()
            self._context.handler.refresh_presence(self)
        blocked = self._connection.blocked_since()
        blocked_until = blocked + settings.write_timeout.total_seconds() if blocked else 0.0
        amid = self._connection.amid_since()
        whole_by = amid + settings.message_timeout.total_seconds() if amid else 0.0
        deadlines = (self._stale_at, self._ping_at, self._pong_by, self._expires_at, self._presence_at, blocked_until, whole_by)
        return min((deadline for deadline in deadlines if deadline), default=0.0)

    def _overdue(self, now: float) -> Disconnect | None:
        if self._stale_at and now >= self._stale_at:
            return codes.STALE
        if self._pong_by and now >= self._pong_by:
            return codes.NO_PONG
        if self._expires_at and now >= self._expires_at:
            return codes.CONNECTION_EXPIRED
        blocked = self._connection.blocked_since()
        if blocked and now - blocked >= self._context.settings.write_timeout.total_seconds():
            return codes.SLOW
        amid = self._connection.amid_since()
        if amid and now - amid >= self._context.settings.message_timeout.total_seconds():
            return codes.SLOW
        return None

    def blocked(self) -> None:
        """Note that the peer takes too little: look again when its time is over."""
        self._context.wheel.schedule(self, self._context.clock() + self._context.settings.write_timeout.total_seconds())

    def amid(self) -> None:
        """Note that a message has begun and not come whole: look again when its time is over."""
        self._context.wheel.schedule(self, self._context.clock() + self._context.settings.message_timeout.total_seconds())

    def end(self, disconnect: Disconnect) -> None:
        """Close the connection; what is queued goes out first, except to a slow client."""
        if self.state is State.CLOSED:
            return
        if disconnect is codes.SLOW:
            self.lost(disconnect.code)
            self._connection.abort()
            return
        self._context.writes.settle()
        self.flush()
        if self.lost(disconnect.code):  # else the flush found it slow
            self._connection.close(disconnect)

    def lost(self, code: int = 0) -> bool:
        """Note that the connection is gone or going: nothing more is sent. False when it was noted before.

        :param code: what it is closed with; 0: it was lost, or the client closed it.
        """
        if self.state is State.CLOSED:
            return False
        self.state = State.CLOSED
        self.descriptor = -1
        self.frames.clear()
        self._context.handler.closed(self, code)
        return True

    @property
    def is_expired(self) -> bool:
        """Whether its token is past its time: it lives on for the grace, for a new one to come."""
        grace = self._context.settings.expiry_grace.total_seconds()
        return bool(self._expires_at) and self._context.clock() >= self._expires_at - grace

    def ttl_s(self, expires_at: float) -> int:
        """Return whole seconds until a time on the session's clock, at least 1."""
        return max(1, math.ceil(expires_at - self._context.clock()))


_PINGS: dict[bool, Any] = {True: frame(Opcode.TEXT, b"{}"), False: frame(Opcode.BINARY, b"\x00")}
