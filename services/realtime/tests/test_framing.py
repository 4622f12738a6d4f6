"""RFC 6455 framing: what a client may send, in whatever pieces it arrives."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stylobate_realtime.wire.framing import FrameReader, FramingError, Opcode, close_code, close_frame, frame


def masked(opcode: int, payload: bytes, *, final: bool = True, mask: bytes = b"\x37\xfa\x21\x3d") -> bytes:
    """Return a client's frame, masked as in RFC 6455 §5.7: names of cases must be alike in every run."""
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
    data = b"".join(masked(Opcode.BINARY, payload, **({"mask": b"\0\0\0\0"} if zero_mask else {})) for payload in payloads)
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
        (masked(Opcode.TEXT, b"\xff" + b"x" * 20)[:-10], 1007),  # text is checked as it arrives
        (masked(Opcode.TEXT, b"\xed\xa0", final=False), 1007),  # half of a surrogate: nothing can mend it
        (masked(Opcode.TEXT, b"\xc3", final=False) + masked(Opcode.CONTINUATION, b"x" * 9)[:-8], 1007),
        (masked(Opcode.TEXT, b"\xc3", final=False) + masked(Opcode.CONTINUATION, b""), 1007),  # ends within a character
        (masked(Opcode.TEXT, b"\xc3"), 1007),
        (bytes((0x82, 0x80 | 126, 0, 125)), 1002),  # lengths that fewer bytes would have held
        (bytes((0x82, 0x80 | 126, 0, 0)), 1002),
        (bytes((0x82, 0x80 | 127)) + (65535).to_bytes(8, "big"), 1002),
        (bytes((0x82, 0x80 | 127)) + (1 << 63).to_bytes(8, "big"), 1002),
        (bytes((0x82, 0x80 | 127)) + (1 << 62).to_bytes(8, "big"), 1009),
        (bytes((0x89, 0x80 | 126, 0, 5)), 1002),  # a control frame with a long length
        (masked(Opcode.TEXT, b"", final=False) + masked(Opcode.CONTINUATION, b"", final=False) * 1024, 1008),
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


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.integers(1, 9))
def test_text_in_fragments_comes_whole_or_not_at_all(parts, piece):
    """Fragments of any bytes, in any pieces: the whole text comes out, or 1007 when it is none."""
    whole = b"".join(parts)
    opcodes = [Opcode.TEXT] + [Opcode.CONTINUATION] * (len(parts) - 1)
    frames = [
        masked(opcode, part, final=number == len(parts) - 1)
        for number, (opcode, part) in enumerate(zip(opcodes, parts, strict=True))
    ]
    reader, seen, sent = FrameReader(limit=1000), [], b"".join(frames)
    try:
        for start in range(0, len(sent), piece):
            seen += reader.feed(sent[start : start + piece])
    except FramingError as error:
        with pytest.raises(UnicodeDecodeError):
            whole.decode(errors="strict" if error.code == 1007 else "ignore")
    else:
        assert seen == [(Opcode.TEXT, whole)]
        assert whole.decode() is not None
        assert not reader.is_amid


@pytest.mark.parametrize("bad", [b"\xff", b"\xc0", b"\xed\xa0", b"\xf4\x90", b"\xf5", b"\x80", b"\xe0\x80", b"\xc3x"])
def test_no_byte_is_waited_for_behind_broken_text(bad):
    """The error comes with the byte that breaks the text, in a long frame whose rest never comes."""
    reader = FrameReader(limit=1000)
    sent = masked(Opcode.TEXT, b"a" * 50 + bad + b"b" * 50, mask=b"\1\2\3\4")
    broken_at = 6 + 50 + len(bad)
    assert not [message for start in range(broken_at - 1) for message in reader.feed(sent[start : start + 1])]
    with pytest.raises(FramingError, match="text"):
        list(reader.feed(sent[broken_at - 1 : broken_at]))


@given(st.lists(st.binary(max_size=200), max_size=6))
def test_any_bytes_are_messages_or_a_framing_error(chunks):
    """Nothing else is ever raised, and no more is held than a message."""
    reader = FrameReader(limit=100)
    with suppress(FramingError):
        for chunk in chunks:
            for opcode, payload in reader.feed(chunk):
                assert opcode in set(Opcode)
                assert len(payload) <= 125
