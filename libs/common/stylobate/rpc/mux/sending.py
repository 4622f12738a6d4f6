"""What is sent on a stream, as far as the other end lets it be (RFC 9113 §5.2)."""

from collections import deque
from collections.abc import Callable

from stylobate.rpc.mux import frames
from stylobate.rpc.mux.frames import MAX_WINDOW, ProtocolError
from stylobate.rpc.mux.messages import PREFIX_BYTES, prefixed


class Sending:
    """Lays messages into frames and windows; what does not fit waits.

    :param write: takes octets for the connection.
    """

    def __init__(self, stream: int, write: Callable[[bytes], None]) -> None:
        self.unsent = 0
        """Octets that wait for a window."""
        self._stream = stream
        self._write = write
        self._head = frames.frame(frames.DATA, 0, stream)[3:]
        self._windows = [frames.FIRST_WINDOW, frames.FIRST_WINDOW]  # of the connection, of the stream
        self._first_window = frames.FIRST_WINDOW
        self._frame_bytes = frames.LEAST_FRAME
        self._queue: deque[bytes] = deque()

    def send(self, message: bytes) -> None:
        """Send a message, or what is let of it."""
        octets = len(message) + PREFIX_BYTES
        windows = self._windows
        if not self.unsent and octets <= self._frame_bytes and octets <= windows[0] and octets <= windows[1]:
            windows[0] -= octets
            windows[1] -= octets
            self._write(b"".join((octets.to_bytes(3, "big"), self._head, prefixed(message))))
            return
        self._queue.append(prefixed(message))
        self.unsent += octets
        self.drain()

    def drain(self) -> None:
        """Send of what waits as much as is let."""
        queue, windows = self._queue, self._windows
        while queue:
            first = queue[0]
            room = min(*windows, self._frame_bytes, len(first))
            if room <= 0:
                return
            if room == len(first):
                queue.popleft()
            else:
                queue[0] = first[room:]
            windows[0] -= room
            windows[1] -= room
            self.unsent -= room
            self._write(frames.frame(frames.DATA, 0, self._stream, first[:room]))

    def clear(self) -> None:
        """Forget what waits."""
        self._queue.clear()
        self.unsent = 0

    def let(self, stream: int, payload: bytes) -> None:
        """Take a window update. Raises ProtocolError."""
        if len(payload) != 4:  # noqa: PLR2004  §6.9
            raise ProtocolError(frames.FRAME_SIZE_ERROR, "a window update has four octets")
        octets = int.from_bytes(payload, "big") & MAX_WINDOW
        which = int(stream > 0)
        if stream not in {0, self._stream} or not octets or self._windows[which] + octets > MAX_WINDOW:
            raise ProtocolError(frames.FLOW_CONTROL_ERROR, "a window is opened by nothing, or too far")
        self._windows[which] += octets

    def set(self, settings: dict[int, int]) -> None:
        """Keep to the settings of the other end. Raises ProtocolError."""
        if (window := settings.get(frames.INITIAL_WINDOW_SIZE)) is not None:
            self._windows[1] += window - self._first_window  # it may be less than nothing then (§6.9.2)
            self._first_window = window
            if self._windows[1] > MAX_WINDOW:
                raise ProtocolError(frames.FLOW_CONTROL_ERROR, "a window is opened too far")
        self._frame_bytes = settings.get(frames.MAX_FRAME_SIZE, self._frame_bytes)
