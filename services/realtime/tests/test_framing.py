"""RFC 6455 framing: what a client may send, in whatever pieces it arrives."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stylobate_realtime.wire.framing import FrameReader, FramingError, Opcode, close_code, close_frame, frame


def masked(opcode: int, payload: bytes, *, final: bool = True, mask: bytes | None = None) -> bytes:
    """Return a client's frame."""
    mask = os.urandom(4) if mask is None else mask
    length = len(payload)
    if length < 126:
        head = bytes((opcode | 0x80 * final, 0x80 | length))
    elif length < 1 << 16:
        head = bytes((opcode | 0x80 * final, 0x80 | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((opcode | 0x80 * final, 0x80 | 127)) + length.to_bytes(8, "big")
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.integers(1, 50), st.booleans())
def test_frames_come_whole_whatever_the_pieces(payloads, piece, zero_mask):
    """Messages cut into pieces of any size come out whole, unmasked and in order."""
    reader = FrameReader(limit=1000)
    data = b"".join(masked(Opcode.BINARY, payload, mask=b"\0\0\0\0" if zero_mask else None) for payload in payloads)
    taken = [message for start in range(0, len(data), piece) for message in reader.feed(data[start : start + piece])]
    assert taken == [(Opcode.BINARY, payload) for payload in payloads]


@pytest.mark.parametrize("length", [0, 125, 126, 65535, 65536])
def test_lengths(length):
    """Each of the three forms of a length is read and written."""
    payload = b"x" * length
    assert list(FrameReader(limit=65536).feed(masked(Opcode.TEXT, payload))) == [(Opcode.TEXT, payload)]
    encoded = frame(Opcode.TEXT, payload)
    assert encoded.endswith(payload)
    head = encoded[: len(encoded) - length]
    as_client = bytes((head[0], head[1] | 0x80)) + head[2:] + b"\0" * 4 + payload
    assert list(FrameReader(limit=65536).feed(as_client)) == [(Opcode.TEXT, payload)]


def test_fragments_are_joined_around_control_frames():
    """A ping between fragments comes at once; the message when its last fragment has."""
    reader = FrameReader(limit=100)
    half = "ä".encode()[:1]
    assert not list(reader.feed(masked(Opcode.TEXT, half, final=False)))
    assert list(reader.feed(masked(Opcode.PING, b"hi"))) == [(Opcode.PING, b"hi")]
    assert not list(reader.feed(masked(Opcode.CONTINUATION, "ä".encode()[1:], final=False)))
    assert list(reader.feed(masked(Opcode.CONTINUATION, b"!"))) == [(Opcode.TEXT, "ä!".encode())]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(Opcode.TEXT, b"hi"), 1002),  # not masked
        (masked(0x3, b""), 1002),  # no such opcode
        (masked(0x40 | Opcode.TEXT, b"x"), 1002),  # a reserved bit: compression that was not agreed on
        (masked(Opcode.CONTINUATION, b"x"), 1002),  # nothing to continue
        (masked(Opcode.TEXT, b"x", final=False) + masked(Opcode.TEXT, b"y"), 1002),  # not continued
        (masked(Opcode.PING, b"x", final=False), 1002),
        (masked(Opcode.PING, b"x" * 126), 1002),
        (masked(Opcode.TEXT, b"\xff"), 1007),
        (masked(Opcode.BINARY, b"x" * 101)[:8], 1009),  # refused by its head, before it has arrived
        (masked(Opcode.TEXT, b"x" * 60, final=False) + masked(Opcode.CONTINUATION, b"x" * 60), 1009),
    ],
)
def test_broken_framing_has_its_code(data, code):
    """Each way to break the framing ends in the close code that the RFC has for it."""
    with pytest.raises(FramingError) as error:
        list(FrameReader(limit=100).feed(data))
    assert error.value.code == code


def test_messages_before_a_broken_frame_still_count():
    """What came whole before the framing broke is handed out first."""
    messages = FrameReader(limit=100).feed(masked(Opcode.TEXT, b"ok") + frame(Opcode.TEXT, b"not masked"))
    assert next(messages) == (Opcode.TEXT, b"ok")
    with pytest.raises(FramingError):
        next(messages)


def test_close_codes():
    """A peer's code is read, absent is 1005, and what may not travel is an error."""
    assert close_code(b"") == 1005
    assert close_code(close_frame(3500, "invalid token")[2:]) == 3500
    for bad in (b"\x03", (1005).to_bytes(2, "big"), (999).to_bytes(2, "big"), (5000).to_bytes(2, "big"), b"\x0b\xb8\xff"):
        with pytest.raises(FramingError):
            close_code(bad)
    assert len(close_frame(3000, "x" * 500)) == 2 + 125
