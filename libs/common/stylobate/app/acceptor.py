"""Accepts connections on one bound socket, within the bounds of its register, and says so when it cannot.

libuv's own acceptor answers a process out of file descriptors by closing whoever waits, without a word. This one leaves them
in the backlog and tries again; the admin listener keeps some descriptors back for itself.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from ssl import SSLContext
from time import thread_time
from typing import Any

from stylobate.app.connections import Connections
from stylobate.app.handshakes import Handshakes
from stylobate.app.listening import waiting
from stylobate.app.turning_away import close_unheard, refuse, turn_away
from stylobate.http.asgi import Header
from stylobate.logs import get_logger
from stylobate.telemetry import counter, gauge

_AT_ONCE = 16
"""What is spent on newcomers before the loop gets its turn; more where its round was long, or they would wait for seconds."""
_LET_IN, _SENT_AWAY = 2, 1
"""What each costs of it."""
_TURN_S = 0.005
"""Of the processor's time and not by the clock: where others have the processor, nobody is served sooner by accepting more."""
_MOST_TURNS = 8
_AGAIN_S = 0.1
_LINE_S = 0.01
"""While newcomers wait in a long line: a part of them has had its turn then."""
_LOG_AGAIN_S = 10.0
_UNSENT_BYTES = 64 * 1024
_RECEIVED_BYTES = 128 * 1024
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
_PASSING = (errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.EHOSTUNREACH)
"""Errors of the connection that was being accepted (accept(2)), not of the socket."""
_log = get_logger("app")


class Acceptor:
    """Has the parts of ``asyncio.Server`` that uvicorn asks for: :meth:`close` and :meth:`wait_closed`."""

    def __init__(
        self,
        listening: socket.socket,
        connections: Connections,
        protocol: Callable[[], asyncio.Protocol],
        default_headers: Callable[[], list[Header]],
        *,
        reserve: int = 0,
        tls: SSLContext | None = None,
        handshake_s: float = 10.0,
    ) -> None:
        """Begin to accept. Raises OSError or ValueError for a socket that does not listen.

        :param protocol: makes what speaks on a connection.
        :param default_headers: of every answer.
        :param reserve: file descriptors kept back for connections of this listener.
        :param tls: None: plain text.
        """
        if not listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ValueError("the socket does not listen")
        listening.setblocking(False)
        if listening.family != socket.AF_UNIX:
            # what the system takes off our hands and nobody wants yet is memory too; accepted sockets inherit this
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVED_BYTES)
        self._socket = listening
        self._connections = connections
        self._protocol = protocol
        self._default_headers = default_headers
        self._loop = asyncio.get_running_loop()
        self._reserve = _Reserve(reserve)
        self._secure: dict[str, Any] = {} if tls is None else {"ssl": tls, "ssl_handshake_timeout": handshake_s}
        self._handshakes = None if tls is None else Handshakes(connections, self._start)
        self._beginning: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._next_line = self._next_full_line = self._used = 0.0
        self._waiting = gauge("http_connections_waiting", "Connections that the system holds until they are accepted.")
        self._failures = counter("http_accept_failures", "Connections that could not be accepted yet.")
        self._loop.add_reader(listening, self._accept)

    def close(self) -> None:
        """Accept no more."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._socket)
        self._reserve.close()
        if self._handshakes is not None:
            self._handshakes.close()

    async def wait_closed(self) -> None:
        """Return: nothing is left to wait for."""

    def look(self) -> None:
        """Say how many wait in the backlog, and that it is full; call it once a second."""
        found = waiting(self._socket)
        if found is None:
            return
        self._waiting.set(found[0])
        now = self._loop.time()
        if found[0] >= found[1] and now >= self._next_full_line:
            self._next_full_line = now + _LOG_AGAIN_S
            _log.warning("connections_waiting", waiting=found[0], most=found[1])

    def _accept(self) -> None:
        is_refusing = self._connections.requests.has_long_line
        if is_refusing and not self._is_backlog_deep():
            self._rest(_LINE_S)
            return
        used = thread_time()
        left = _AT_ONCE * min(_MOST_TURNS, 1 + int((used - self._used) / _TURN_S))
        self._used = used
        while left > 0:
            try:
                accepted, peer = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _PASSING:
                    continue
                if error.errno in _NO_DESCRIPTORS and self._reserve.give():
                    continue
                self._failed(error)
                return
            address = self._connections.address_of(peer[0] if isinstance(peer, tuple) else "")
            is_let_in = self._begin(accepted, address, is_refusing=is_refusing)
            left -= _LET_IN if is_let_in else _SENT_AWAY

    def _is_backlog_deep(self) -> bool:
        found = waiting(self._socket)
        return found is not None and self._connections.requests.are_too_many(*found)

    def _rest(self, seconds: float) -> None:
        """Leave those who wait in the backlog for a moment."""
        self._loop.remove_reader(self._socket)
        self._pause = self._loop.call_later(seconds, self._loop.add_reader, self._socket, self._accept)

    def _begin(self, accepted: socket.socket, address: str, *, is_refusing: bool) -> bool:
        connections, refusal = self._connections, self._connections.enter(address)
        if refusal is not None:
            if self._handshakes is None:
                turn_away(accepted, refusal, self._default_headers())
            else:
                close_unheard(accepted)
            return False
        accepted.setblocking(False)
        if is_refusing and not connections.has_soon_turn(address) and self._has_refused(accepted):
            connections.leave(address)
            return False
        if self._handshakes is not None:
            return self._handshakes.wait(accepted, address)
        self._start(accepted, address)
        return True

    def _has_refused(self, accepted: socket.socket) -> bool:
        """Refuse what is asked, in the turns' place; False: nothing is asked yet, so the answer might get lost."""
        if self._handshakes is not None:
            self._connections.turn_away("handshakes")
            close_unheard(accepted)
            return True
        if has_refused := refuse(accepted, self._default_headers(), self._connections.turned_away):
            self._connections.requests.count_refused(1)
        return has_refused

    def _start(self, accepted: socket.socket, address: str) -> None:
        task = self._loop.create_task(self._connect(accepted, address))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    async def _connect(self, accepted: socket.socket, address: str) -> None:
        protocol = self._protocol()
        self._connections.bring(protocol, address)
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, accepted, **self._secure)
        except BaseException as error:  # the peer may be gone already
            self._connections.discard(protocol)
            accepted.close()
            if not isinstance(error, OSError):
                raise
        self._reserve.refill()

    def _failed(self, error: OSError) -> None:
        self._failures.inc()
        self._rest(_AGAIN_S)
        now = self._loop.time()
        if now >= self._next_line:
            self._next_line = now + _LOG_AGAIN_S
            _log.error("accept_failed", error=os.strerror(error.errno or 0), cure="raise the limit of open files (ulimit -n)")


class _Reserve:
    """File descriptors that are open for nothing but to be given up."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: list[int] = []
        self.refill()

    def give(self) -> bool:
        """Free one; False when there is none."""
        if not self._kept:
            return False
        os.close(self._kept.pop())
        return True

    def refill(self) -> None:
        """Keep as many as wanted, as far as the process has any to spare."""
        with suppress(OSError):
            while len(self._kept) < self._size:
                self._kept.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def close(self) -> None:
        """Keep none."""
        self._size = 0
        while self.give():
            pass
