"""What a session is given: its socket, who carries out its commands, what all sessions of a node share."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from stylobate_realtime.codes import Disconnect
from stylobate_realtime.openings import Openings
from stylobate_realtime.protocol.messages import Command
from stylobate_realtime.settings import RealtimeSettings
from stylobate_realtime.timers import TimerWheel
from stylobate_realtime.write_queue import WriteQueue

if TYPE_CHECKING:
    from stylobate_realtime.session import ClientSession


class State(Enum):
    """How far a session is."""

    NEW = "new"
    CONNECTED = "connected"
    REFUSED = "refused"
    """Its connect was answered with an error: the next command, or the stale deadline, closes it."""
    CLOSED = "closed"


class ClientSocket(Protocol):
    """What a session needs of its socket."""

    def write(self, data: bytes, own: int) -> bool:
        """Write frames; False when the peer is too far behind.

        :param own: how many of the bytes, and of those written right behind, are held for this peer alone.
        """

    def descriptor(self) -> int:
        """Return what frames may be written to straight, past :meth:`write`; -1: nothing, as while something waits there."""

    def blocked_since(self) -> float:
        """Return the time since which the peer takes too little; 0: it keeps up."""

    def amid_since(self) -> float:
        """Return the time since which a message of the peer is not whole; 0: there is none."""

    def close(self, disconnect: Disconnect) -> None:
        """Close after what was written."""

    def abort(self) -> None:
        """Drop the connection and what it has not taken."""

    def set_reading(self, reading: bool) -> None:
        """Stop or resume taking bytes from the peer."""


class Handler(Protocol):
    """Carries out commands; see ``commands.Commands``."""

    async def run(self, session: "ClientSession", command: Command) -> None:
        """Carry out a command and send its reply. Raises CommandRefusedError, SessionEndedError."""

    def closed(self, session: "ClientSession", code: int) -> None:
        """Clear up behind the session. Called once, whatever ended it; ``code`` as in ``ClientSession.lost``."""

    def refresh_presence(self, session: "ClientSession") -> None:
        """Renew the session's presence entries."""


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What all sessions of a node share."""

    settings: RealtimeSettings
    handler: Handler
    writes: WriteQueue
    wheel: TimerWheel
    openings: Openings
    loop: asyncio.AbstractEventLoop
    clock: Callable[[], float]
    """Seconds, monotonic: deadlines."""
    random: random.Random
    """Spreads first pings and refreshes."""
