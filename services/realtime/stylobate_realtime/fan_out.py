"""From one topic to its members: what came in within a turn of the loop is joined once, and the same bytes go to every socket.

Most members have nothing else to be sent then, and nothing waits in their transports: at the end of the turn the bytes go
straight to their sockets. It is what a broadcast to thousands costs. What a socket does not take at once goes to its transport.
"""

import ctypes
from collections.abc import Iterator, Mapping
from itertools import islice
from socket import MSG_DONTWAIT
from typing import Any

from stylobate_realtime.protocol import Codec
from stylobate_realtime.session import ClientSession
from stylobate_realtime.subscription import Subscription
from stylobate_realtime.write_queue import JOINED, WriteQueue

Members = Mapping[Codec, Mapping[ClientSession, Subscription]]
_send: Any = ctypes.PyDLL(None).send
"""The C library's, which keeps the interpreter's lock: it takes a few microseconds and never waits. ``socket.send`` gives the
lock up, and a thread that computes then keeps it for milliseconds, once for each of thousands of sockets."""


class FanOut:
    """Holds publications of one topic until the turn ends or something must come behind them."""

    def __init__(self, writes: WriteQueue) -> None:
        self._writes = writes
        self._members: Members = {}
        """Whose publications are held."""
        self._frames: dict[Codec, list[bytes]] = {}
        """They, encoded."""
        self._bytes = 0
        self._sending: list[tuple[bytes, Iterator[ClientSession]]] = []
        """What is being written, and to whom it is yet to go."""

    def hold(self, members: Members, codec: Codec, encoded: bytes) -> None:
        """Hold a publication for those members of a topic that speak the encoding."""
        if self._members is not members or self._bytes + len(encoded) > JOINED:
            self._writes.settle()
        if not self._frames:
            self._members = members
            self._writes.hold(self)
        self._bytes += len(encoded)
        self._frames.setdefault(codec, []).append(encoded)

    def queue(self) -> None:
        """Queue what is held with each member, to be written behind what waits there."""
        for encoded, members in self._begun():
            for session in members:
                session.send(encoded)
        self._sending = []

    def write(self, most: int) -> int:
        """Write it to this number of members; return what is left of the number: 0 while there are members without it."""
        sending = self._begun()
        while sending:
            encoded, members = sending[0]
            size = len(encoded)
            for session in islice(members, most):
                most -= 1
                if (descriptor := session.descriptor) < 0:
                    session.pass_on(encoded)
                elif (sent := _send(descriptor, encoded, size, MSG_DONTWAIT)) != size:
                    session.pass_on(encoded[sent:] if sent > 0 else encoded)  # who is gone is found so by the transport
            if not most:
                return 0
            del sending[0]
        return most

    def _begun(self) -> list[tuple[bytes, Iterator[ClientSession]]]:
        found, self._frames, self._bytes = self._frames, {}, 0
        for codec, frames in found.items():
            encoded = frames[0] if len(frames) == 1 else b"".join(frames)
            self._sending.append((encoded, iter(tuple(self._members[codec]))))
        return self._sending
