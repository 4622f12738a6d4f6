"""One end of an HTTP/2 connection that carries one gRPC stream: frames in, messages out, flow control both ways."""

import asyncio
from collections.abc import Callable
from typing import ClassVar

from stylobate.rpc.mux import frames
from stylobate.rpc.mux.frames import ProtocolError, frame
from stylobate.rpc.mux.heads import MAX_HEAD_BYTES, Head, Heads
from stylobate.rpc.mux.receiving import WINDOW, Receiving
from stylobate.rpc.mux.sending import Sending
from stylobate.rpc.mux.watch import LOOK_S, Watch

STREAM = 1
"""The one stream of a connection."""
MAX_FRAME_BYTES = 64 * 1024
"""That this end takes."""
_MAX_UNSENT = 256 * 1024
"""Octets that the transport holds before what is sent waits, and is sent together."""
_MAX_IDLE_FRAMES = 1000
"""Frames that carry no message to its end, before one does or the watch looks again."""
_CLOSE_WITHIN_S = 5.0


class Http2(asyncio.Protocol):
    """What both ends share. A subclass says what becomes of messages and heads, and what the end means.

    Nothing that the other end sends makes this one hold more than a message and a frame; what this end sends and the other does
    not take is counted in :attr:`unsent`.

    :param most: octets of the largest message taken.
    """

    is_server: ClassVar[bool]
    patience: ClassVar[float]
    """Seconds after which one that does not answer is given up."""
    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int) -> None:
        self.loop = loop
        self.is_open = False
        """Whether the stream has begun."""
        self.is_closing = False
        self.watch = Watch(loop, self)
        self._is_paused = False
        self._partial = b""
        self.receiving = Receiving(STREAM, most, self.message, self._write)
        self._heads = Heads()
        self._sending = Sending(STREAM, self._write)
        self._idle_frames = 0
        self._unanswerable = 0
        """Frames that want an answer, and came while this end may not write."""
        self._at_end: Callable[[], None] | None = None
        self._aborting: asyncio.TimerHandle | None = None

    # what a subclass adds

    def message(self, message: bytes) -> None:
        """Take a message. Raises ProtocolError."""
        raise NotImplementedError

    def head(self, stream: int, head: Head, *, is_end: bool) -> None:
        """Take the head or the trailers of a stream. Raises ProtocolError."""
        raise NotImplementedError

    def ended(self) -> None:
        """Take note that the other end sends no more messages."""
        raise NotImplementedError

    def going(self, code: int, text: str) -> None:
        """Take note that the other end wants no further stream."""
        raise NotImplementedError

    def writable(self) -> None:
        """Go on with what waited while :attr:`is_congested`."""
        raise NotImplementedError

    def ponged(self, payload: bytes) -> None:
        """Take note that a ping was answered: the other end has read what was sent before it."""

    # out

    @property
    def unsent(self) -> int:
        """Octets that wait for the other end's window."""
        return self._sending.unsent

    @property
    def is_congested(self) -> bool:
        """Whether what is sent now would wait."""
        return self._is_paused or self._sending.unsent > 0

    def open(self) -> None:
        """Say what this end grants; the first octets of a server."""
        self.transport.set_write_buffer_limits(_MAX_UNSENT)
        granted = [(frames.INITIAL_WINDOW_SIZE, WINDOW), (frames.MAX_FRAME_SIZE, MAX_FRAME_BYTES)]
        granted += [(frames.MAX_HEADER_LIST_SIZE, MAX_HEAD_BYTES)]
        granted.append((frames.MAX_CONCURRENT_STREAMS, 1) if self.is_server else (frames.ENABLE_PUSH, 0))
        self._write(frames.settings_frame(*granted) + frames.window_frame(0, WINDOW - frames.FIRST_WINDOW))

    def send_head(self, stream: int, *head: tuple[str, str], is_end: bool = False) -> None:
        """Send a head, or trailers."""
        self._write(self._heads.frame(stream, *head, is_end=is_end))

    def send(self, message: bytes) -> None:
        """Send a message, or as much of it as the other end takes now; the rest follows by itself."""
        if not self.is_closing:
            self._sending.send(message)

    def end(self, then: Callable[[], None]) -> None:
        """Do something once all is sent; nothing is sent after it."""
        self._at_end = then
        self._drain()

    def ping(self, payload: bytes) -> None:
        """Ask whether the other end is there; eight octets, which come back."""
        self._write(frame(frames.PING, 0, 0, payload))

    def _write(self, data: bytes) -> None:
        self.transport.write(data)

    def _drain(self) -> None:
        if not self.is_closing:
            self._sending.drain()
            if self._at_end is not None and not self._sending.unsent:
                then, self._at_end = self._at_end, None
                then()

    # in

    def data_received(self, data: bytes) -> None:
        """Take octets; a connection that breaks the protocol ends."""
        if self.is_closing:
            return
        self.watch.is_heard = True
        if self._partial:
            data = self._partial + data
        at, end = 0, len(data)
        try:
            while end - at >= frames.HEAD_BYTES and not self.is_closing:
                size = int.from_bytes(data[at : at + 3], "big")
                if size > MAX_FRAME_BYTES:
                    raise ProtocolError(frames.FRAME_SIZE_ERROR, "a frame is too large")
                if end - at - frames.HEAD_BYTES < size:
                    break
                stream = int.from_bytes(data[at + 5 : at + 9], "big") & frames.MAX_STREAM
                kind, flags = data[at + 3], data[at + 4]
                at += frames.HEAD_BYTES + size
                self._take(kind, flags, stream, data[at - size : at])
            self._partial = data[at:]
        except ProtocolError as error:
            self.fail(error)

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._heads.is_partial and kind != frames.CONTINUATION:
            raise ProtocolError(frames.PROTOCOL_ERROR, "a head is cut off")
        self._idle_frames += 1
        if self._is_paused and kind in {frames.PING, frames.SETTINGS}:
            self._unanswerable += 1
        if max(self._idle_frames, self._unanswerable) > _MAX_IDLE_FRAMES:
            raise ProtocolError(frames.ENHANCE_YOUR_CALM, "too many frames that carry nothing")
        if kind == frames.DATA:
            self._data(flags, stream, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._sending.let(stream, payload)
            self._go_on()
        elif kind in {frames.HEADERS, frames.CONTINUATION}:
            if (found := self._heads.take(kind, flags, stream, payload)) is not None:
                self.head(stream, found[0], is_end=found[1])
        elif kind == frames.RST_STREAM:
            self._reset(stream, payload)
        elif kind in {frames.SETTINGS, frames.PING, frames.GOAWAY, frames.PUSH_PROMISE}:
            self._of_connection(kind, flags, stream, payload)

    def _data(self, flags: int, stream: int, payload: bytes) -> None:
        if stream != STREAM or not self.is_open:
            raise ProtocolError(frames.STREAM_CLOSED, "there is no such stream")
        if self.receiving.data(flags, payload):
            self._idle_frames = 0
        if flags & frames.END_STREAM and not self.is_closing:
            self.ended()

    def _reset(self, stream: int, payload: bytes) -> None:
        if len(payload) != 4 or stream != STREAM:  # noqa: PLR2004  §6.4
            raise ProtocolError(frames.PROTOCOL_ERROR, "a reset of nothing")
        self.close()

    def _of_connection(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if stream or kind == frames.PUSH_PROMISE:
            raise ProtocolError(frames.PROTOCOL_ERROR, "a frame of the connection on a stream, or a push")
        if kind == frames.SETTINGS:
            if not flags & frames.ACK:
                self._set(frames.read_settings(payload))
        elif kind == frames.PING:
            if len(payload) != 8:  # noqa: PLR2004  §6.7
                raise ProtocolError(frames.FRAME_SIZE_ERROR, "a ping has eight octets")
            if flags & frames.ACK:
                self.ponged(payload)
            else:
                self._write(frame(frames.PING, frames.ACK, 0, payload))
        else:
            self.going(int.from_bytes(payload[4:8], "big"), payload[8:264].decode("ascii", "replace"))

    def _set(self, settings: dict[int, int]) -> None:
        self._sending.set(settings)
        if (octets := settings.get(frames.HEADER_TABLE_SIZE)) is not None:
            self._heads.limit_table(octets)
        self._write(frame(frames.SETTINGS, frames.ACK, 0))
        self._go_on()

    # flow and end

    def pause_writing(self) -> None:
        """Hold back: the transport holds enough."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self._is_paused = False
        self._unanswerable = 0
        self._go_on()

    def _go_on(self) -> None:
        self._drain()
        if not self.is_congested and not self.is_closing:
            self.writable()

    @property
    def idle_looks(self) -> int:
        """Looks without a word after which the other end is asked whether it is there."""
        raise NotImplementedError

    @property
    def waiting(self) -> int:
        """Octets that the other end has yet to take."""
        self._idle_frames = 0  # at each look
        return self.unsent + self.transport.get_write_buffer_size()

    def unanswered(self, looks: int) -> None:
        """Give the other end up when it has not answered for long."""
        if looks * LOOK_S >= self.patience:
            self.is_closing = True
            self.transport.abort()

    def fail(self, error: ProtocolError) -> None:
        """Tell the other end what it did, and end the connection."""
        if not self.is_closing:
            self._write(frames.goaway_frame(error.code, str(error), STREAM if self.is_open else 0))
            self.close()

    def close(self) -> None:
        """End the connection; what was written is still sent, if the other end takes it soon."""
        if self.is_closing:
            return
        self.is_closing = True
        self.transport.close()
        self.watch.stop()
        self._aborting = self.loop.call_later(_CLOSE_WITHIN_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Let go of everything."""
        self.is_closing = True
        self.is_open = False
        self._sending.clear()
        self._at_end = None
        self.watch.stop()
        if self._aborting is not None:
            self._aborting.cancel()
