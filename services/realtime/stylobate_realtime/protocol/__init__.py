"""The client protocol's messages and their two encodings, behind one port."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from stylobate_realtime.protocol.messages import Command, Reply


class MalformedFrameError(Exception):
    """A client's frame does not parse."""


class Codec(Protocol):
    """One encoding of the protocol. Stateless: one instance serves every connection.

    A frame carries one or more messages. Payloads of the application (``data``, ``info``) pass through untouched, byte by
    byte; only the JSON encoding replaces raw newlines between tokens by spaces, since a newline ends a message there.
    """

    name: str
    """``json`` or ``protobuf``; part of the WebSocket subprotocol's name."""
    is_text: bool
    """Whether frames are WebSocket text frames."""
    ping: bytes
    """A whole message: the empty reply; the client's answer, the empty command, is the same bytes."""

    def decode(self, frame: bytes) -> Iterator[Command]:
        """Give the commands of a frame, at least one, in order; a pong is a command without id and request.

        Each is decoded when it is asked for: a frame of many is not held decoded.

        :raises MalformedFrameError: the frame is empty or does not parse; after the commands before that place.
        """

    def encode(self, reply: Reply) -> bytes:
        """Return the message of a reply or push, ready to be joined with others by :meth:`join`."""

    def join(self, messages: Iterable[bytes]) -> bytes:
        """Return the payload of one frame that carries the messages in order."""
