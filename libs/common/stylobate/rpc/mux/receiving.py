"""What comes on a stream: messages, and never more than this end has allowed (RFC 9113 §5.2)."""

from collections.abc import Callable

from stylobate.rpc.mux import frames
from stylobate.rpc.mux.frames import ProtocolError
from stylobate.rpc.mux.messages import Messages

WINDOW = 1024 * 1024
"""Octets that the other end may send before it is told to go on."""


class Receiving:
    """Takes frames of DATA and lets more come as they are taken.

    :param most: octets of the largest message.
    :param take: gets each message.
    :param write: takes octets for the connection.
    """

    def __init__(self, stream: int, most: int, take: Callable[[bytes], None], write: Callable[[bytes], None]) -> None:
        self._stream = stream
        self._messages = Messages(most, take)
        self._write = write
        self._left = WINDOW
        self._is_held = False

    def data(self, flags: int, payload: bytes) -> bool:
        """Take a frame; return whether a message ended in it. Raises ProtocolError."""
        self._left -= len(payload)
        if self._left < 0:
            raise ProtocolError(frames.FLOW_CONTROL_ERROR, "more was sent than may be")
        self._let_more()
        return self._messages.feed(frames.unpadded(flags, payload))

    def hold(self, *, is_held: bool) -> None:
        """Let the other end send no more than it may already, or again more."""
        self._is_held = is_held
        self._let_more()

    def _let_more(self) -> None:
        if self._left < WINDOW // 2 and not self._is_held:
            more, self._left = WINDOW - self._left, WINDOW
            self._write(frames.window_frame(0, more) + frames.window_frame(self._stream, more))
