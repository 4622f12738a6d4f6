"""TLS connections that are not yet: each waits until its client has spoken, then for its turn to have its handshake.

A handshake is the dearest thing that a stranger can ask for, half a millisecond of the processor or more, and the event loop does
nothing else meanwhile. So one begins in a turn of the loop, of each address one at a time, and what others ask goes between.
"""

import asyncio
import socket
from collections.abc import Callable

from stylobate.app.connections import Connections
from stylobate.app.turning_away import close_unheard
from stylobate.app.turns import FairQueue
from stylobate.identity.client_address import limit_key

_AT_ONCE = 1
"""Handshakes that begin in a turn of the loop: a turn costs next to nothing beside one, so more would bring nothing."""
_MOST_WAITING = 512
"""That have spoken and wait: about as many as are done in a second. While there are that many, who connects is closed,"""
_FEW = 64
"""but for who would wait behind no more than these: in turns, since others bring many."""


class Handshakes:
    """Gives those that were accepted their turns."""

    def __init__(self, connections: Connections, begin: Callable[[socket.socket, str], None]) -> None:
        """Begin with nobody waiting.

        :param begin: begins the handshake on the socket of who comes from the address.
        """
        self._loop = asyncio.get_running_loop()
        self._connections = connections
        self._begin = begin
        self._silent: set[_Unheard] = set()
        self._line = FairQueue[_Unheard]()

    def wait(self, accepted: socket.socket, address: str) -> bool:
        """Take a connection that has entered, and wait for its client's first bytes; False: too many wait, and it is closed."""
        if self._line.count >= _MOST_WAITING and self._line.before(limit_key(address)) > _FEW:
            self._connections.turn_away("handshakes")
            self._connections.leave(address)
            close_unheard(accepted)
            return False
        unheard = _Unheard(self._connections, self._close, accepted, self._loop.time())
        self._silent.add(unheard)
        self._connections.bring(unheard, address)
        self._loop.add_reader(accepted, self._hear, unheard)
        return True

    def close(self) -> None:
        """Let all begin at once: they were accepted, so nobody else can serve them."""
        for unheard in tuple(self._silent):
            self._no_longer_silent(unheard)
            self._start(unheard)
        while self._line.count:
            self._start(self._line.pop())

    def _hear(self, unheard: "_Unheard") -> None:
        self._no_longer_silent(unheard)
        if not self._line.count:
            self._loop.call_soon(self._turn)
        self._line.put(self._connections.whose(unheard), unheard)

    def _turn(self) -> None:
        for _ in range(min(_AT_ONCE, self._line.count)):
            self._start(self._line.pop())
        if self._line.count:
            self._loop.call_soon(self._turn)

    def _start(self, unheard: "_Unheard") -> None:
        self._begin(unheard.socket, self._connections.part(unheard))

    def _close(self, unheard: "_Unheard") -> bool:
        """Close a connection whose client has said nothing; False: it has, and waits for its turn."""
        if unheard not in self._silent:
            return False
        self._no_longer_silent(unheard)
        self._connections.discard(unheard)
        close_unheard(unheard.socket)
        return True

    def _no_longer_silent(self, unheard: "_Unheard") -> None:
        self._loop.remove_reader(unheard.socket)
        self._silent.remove(unheard)


class _Unheard:
    """A connection before its handshake, as its register knows it."""

    __slots__ = ("_close", "_register", "_since", "socket")
    is_working = False

    def __init__(self, register: Connections, close: Callable[["_Unheard"], bool], accepted: socket.socket, since: float) -> None:
        self._register = register
        self._close = close
        self._since = since
        self.socket = accepted

    def check(self, now: float) -> None:
        """Close when nothing has come for as long as the head of a request may take."""
        if now - self._since > self._register.bounds.head_s:
            self.end("head")

    def end(self, cause: str) -> None:
        """Close, unless its turn is about to come."""
        if self._close(self):
            self._register.cut(cause)

    def give_up(self) -> bool:
        """Let go of the connection; False: its turn is about to come."""
        if is_closed := self._close(self):
            self._register.cut("crowd")
        return is_closed

    def give_way(self, *, sending: bool) -> None:  # noqa: ARG002  it holds nothing
        """Close."""
        self.end("unsent")
