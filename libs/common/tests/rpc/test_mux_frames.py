# ruff: noqa: D102  the methods are those of asyncio and of what is tested
"""Octets to messages and back: whatever the cuts, frame sizes and windows."""

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stylobate.rpc.mux import frames
from stylobate.rpc.mux.connection import MAX_FRAME_BYTES, STREAM, Http2
from stylobate.rpc.mux.heads import Head
from stylobate.rpc.mux.items import MESSAGE_BYTES, CallItem, FromClient, Reply, packed

MESSAGES = st.lists(st.binary(max_size=300), max_size=12)
TEXT = st.text(max_size=20)


class Pipe(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True

    def take(self) -> bytes:
        """Return what was written since."""
        taken = bytes(self.written)
        self.written.clear()
        return taken


class End(Http2):
    """One end, which keeps the messages that come."""

    is_server = True
    answer_s = idle_s = 1.0

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, 2**20)
        self.transport = self.pipe = Pipe()
        self.got: list[bytes] = []
        self.heads: list[Head] = []
        self.is_ended = False
        self.is_open = True
        self.open()

    def message(self, message: bytes) -> None:
        self.got.append(message)

    def head(self, stream: int, head: Head, *, is_end: bool) -> None:
        self.heads.append(head)

    def ended(self) -> None:
        self.is_ended = True

    def going(self, code: int, text: str) -> None:
        pass

    def writable(self) -> None:
        pass


@pytest.fixture(scope="module")
def loop() -> Any:
    """Give a loop for timers; it never runs."""
    made = asyncio.new_event_loop()
    yield made
    made.close()


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut the octets."""
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@settings(max_examples=50)
@given(
    messages=MESSAGES,
    cuts=st.lists(st.integers(0, 10_000), max_size=20),
    sizes=st.lists(st.integers(0, 90), min_size=1, max_size=9),
)
def test_any_cut_gives_the_same_messages(loop: Any, messages: list[bytes], cuts: list[int], sizes: list[int]):
    """However the octets arrive, and however the messages were laid into frames, padded or not."""
    stream = b"".join(b"\0" + len(message).to_bytes(4, "big") + message for message in messages)
    laid, at, turn = bytearray(), 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)] or 1
        part = stream[at : at + size]
        pad = sizes[(turn + 1) % len(sizes)]
        padded = bytes((pad,)) + part + bytes(pad) if turn % 2 else part
        laid += frames.frame(frames.DATA, frames.PADDED if turn % 2 else 0, STREAM, padded)
        at, turn = at + size, turn + 1
    end = End(loop)
    for piece in pieces(bytes(laid), cuts):
        end.data_received(piece)
    assert not end.is_closing
    assert end.got == messages


@settings(max_examples=30)
@given(
    messages=st.lists(st.binary(max_size=40_000), max_size=5),
    window=st.integers(0, 70_000),
    frame_bytes=st.integers(frames.LEAST_FRAME, 40_000),
    opened=st.integers(1, 9_000),
)
def test_what_is_sent_keeps_to_the_windows(loop: Any, messages: list[bytes], window: int, frame_bytes: int, opened: int):
    """No frame is larger and no more is sent than the other end lets; it all arrives as the windows open."""
    sender, reader = End(loop), End(loop)
    sender.pipe.take()
    reader.pipe.take()
    told = (frames.INITIAL_WINDOW_SIZE, window), (frames.MAX_FRAME_SIZE, frame_bytes)
    sender.data_received(frames.settings_frame(*told))
    sender.pipe.take()
    let = [frames.FIRST_WINDOW, window]
    for message in messages:
        sender.send(message)
    while True:
        data = sender.pipe.take()
        at = 0
        while at < len(data):
            size = int.from_bytes(data[at : at + 3], "big")
            assert data[at + 3] == frames.DATA
            assert size <= frame_bytes
            let = [left - size for left in let]
            at += frames.HEAD_BYTES + size
        assert min(let) >= 0 or not data
        reader.data_received(data)
        if not sender.unsent:
            break
        sender.data_received(frames.window_frame(0, opened) + frames.window_frame(STREAM, opened))
        let = [left + opened for left in let]
    assert reader.got == messages
    assert not sender.is_congested


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 2**63), TEXT, st.lists(TEXT), st.integers(0, 2**40), st.binary(max_size=50)), max_size=40)
)
def test_calls_come_out_as_they_went_in(calls: list[Any]):
    """Of any number of items in a message, whatever stands in them."""
    read = msgspec.msgpack.decode(msgspec.msgpack.encode((calls, [1, 2])), type=FromClient)
    assert [(c.id, c.method, list(c.metadata), c.timeout_us, c.request) for c in read.calls] == [
        tuple(c[:2]) + tuple(c[2:]) for c in calls
    ]
    assert read.cancelled == (1, 2)


def test_fields_of_a_later_release_are_passed_over():
    """An item may grow at its end, and what is left out there has its default."""
    item = msgspec.msgpack.decode(msgspec.msgpack.encode([1, "/m", [], 0, b"x", [["k-bin", b"\0"]], "later", 7]), type=CallItem)
    assert item.pairs() == (("k-bin", b"\0"),)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode([1, b"x"]), type=Reply) == Reply(1, b"x")


@settings(max_examples=30)
@given(st.lists(st.binary(max_size=MESSAGE_BYTES), min_size=1, max_size=8))
def test_messages_stay_short(items: list[bytes]):
    """Items are spread over messages; only a single one makes a longer one."""
    messages = [[bytes(item) for item in message] for message in packed([msgspec.Raw(item) for item in items])]
    assert [item for message in messages for item in message] == items
    for message in messages:
        assert sum(map(len, message)) <= MESSAGE_BYTES or len(message) == 1


def _settings(*pairs: tuple[int, int]) -> bytes:
    return frames.settings_frame(*pairs)


BROKEN = {
    "a frame over what is taken": (MAX_FRAME_BYTES + 1).to_bytes(3, "big") + bytes(6),
    "data on another stream": frames.frame(frames.DATA, 0, 3, b"x"),
    "all padding": frames.frame(frames.DATA, frames.PADDED, STREAM, b"\x05abc"),
    "a compressed message": frames.frame(frames.DATA, 0, STREAM, b"\1\0\0\0\1x"),
    "a message over what is taken": frames.frame(frames.DATA, 0, STREAM, b"\0\x7f\0\0\0"),
    "a window opened by nothing": frames.window_frame(0, 0),
    "a window opened too far": frames.window_frame(STREAM, frames.MAX_WINDOW),
    "a window of another stream": frames.window_frame(9, 1),
    "a window update cut off": frames.frame(frames.WINDOW_UPDATE, 0, 0, b"\0"),
    "settings cut off": frames.frame(frames.SETTINGS, 0, 0, b"\0"),
    "settings on a stream": frames.frame(frames.SETTINGS, 0, STREAM),
    "an initial window that there cannot be": _settings((frames.INITIAL_WINDOW_SIZE, 2**31)),
    "an initial window that opens too far": frames.window_frame(STREAM, 2**30)
    + _settings((frames.INITIAL_WINDOW_SIZE, 2**31 - 1)),
    "a frame size that there cannot be": _settings((frames.MAX_FRAME_SIZE, 1)),
    "a push": frames.frame(frames.PUSH_PROMISE, frames.END_HEADERS, STREAM, bytes(4)),
    "a ping of the wrong size": frames.frame(frames.PING, 0, 0, b"x"),
    "a head that nobody began": frames.frame(frames.CONTINUATION, frames.END_HEADERS, STREAM, b""),
    "a head cut off by data": frames.frame(frames.HEADERS, 0, STREAM, b"") + frames.frame(frames.DATA, 0, STREAM, b""),
    "a head that cannot be read": frames.frame(frames.HEADERS, frames.END_HEADERS, STREAM, b"\xff\xff\xff"),
    "a head without an end": b"".join(
        [
            frames.frame(frames.HEADERS, 0, STREAM, bytes(16_000)),
            *[frames.frame(frames.CONTINUATION, 0, STREAM, bytes(16_000))] * 5,
        ]
    ),
    "a reset of another stream": frames.frame(frames.RST_STREAM, 0, 5, bytes(4)),
    "frames without end that hold nothing": frames.frame(frames.DATA, 0, STREAM) * 1001,
    "pings without end": frames.frame(frames.PING, 0, 0, bytes(8)) * 1001,
    "a message in a thousand crumbs": frames.frame(frames.DATA, 0, STREAM, b"\0\0\0\xff\xff")
    + frames.frame(frames.DATA, 0, STREAM, b"x") * 1001,
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_the_protocol_ends_the_connection(loop: Any, name: str):
    """With the reason, and nothing is kept."""
    end = End(loop)
    end.pipe.take()
    end.data_received(BROKEN[name])
    assert end.is_closing
    assert end.pipe.is_closed
    assert frames.frame(frames.GOAWAY, 0, 0)[3:4] in end.pipe.take()
    assert end.got == []


def test_more_than_the_window_ends_the_connection(loop: Any):
    """An end that goes on sending although it was not let is cut off; what it may send is told again as it is taken."""
    end = End(loop)
    message = b"\0\0\0\x3f\xfb" + bytes(0x3FFB)
    for _ in range(200):
        end.data_received(frames.frame(frames.DATA, 0, STREAM, message))
    assert not end.is_closing
    assert len(end.got) == 200
    end.receiving.hold(is_held=True)
    for _ in range(200):
        end.data_received(frames.frame(frames.DATA, 0, STREAM, message))
    assert end.is_closing
