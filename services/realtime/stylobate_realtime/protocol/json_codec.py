"""The JSON encoding: one object a line, messages joined by a newline."""

from collections.abc import Iterable, Iterator

import msgspec
from msgspec.structs import astuple

from stylobate_realtime.protocol import MalformedFrameError
from stylobate_realtime.protocol.messages import Command, Reply

_FEWEST_ABSENT = astuple(Command()).count(None) - 1


class JsonCodec:
    """JSON in text frames; payloads are embedded as raw JSON."""

    name = "json"
    is_text = True
    ping = b"{}"

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(Command).decode
        self._encode = msgspec.json.Encoder().encode

    def decode(self, frame: bytes) -> Iterator[Command]:
        """Give the commands of a frame; one trailing newline is tolerated."""
        start, end = 0, len(frame)
        try:
            if not frame.isascii():
                frame.decode()  # raw payloads are passed on without being looked into
            while start < end or not start:
                stop = frame.find(b"\n", start)
                stop = end if stop < 0 else stop
                command = self._decode(frame[start:stop])
                if astuple(command).count(None) < _FEWEST_ABSENT:
                    raise MalformedFrameError("a command with two requests")
                yield command
                start = stop + 1
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedFrameError(str(error)) from None

    def encode(self, reply: Reply) -> bytes:
        """Return the reply as one line."""
        message = self._encode(reply)
        # Inside JSON strings a newline is escaped, so a raw one stands between tokens of a payload.
        return message.replace(b"\n", b" ") if b"\n" in message else message

    def join(self, messages: Iterable[bytes]) -> bytes:
        """Join by newlines."""
        return b"\n".join(messages)
