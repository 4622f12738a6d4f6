"""The protobuf encoding: length-prefixed messages of ``client_protocol.proto``."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from stylobate.api.realtime.client.v1 import client_protocol_pb2 as wire

from stylobate_realtime.protocol import MalformedFrameError
from stylobate_realtime.protocol import messages as m

_MAX_32 = 2**32 - 1
_MAX_SHIFT = 28
"""A length has at most five groups of seven bits."""
_REQUESTS: dict[str, Any] = {
    name: getattr(m, field.message_type.name)
    for name, field in wire.Command.DESCRIPTOR.fields_by_name.items()
    if field.message_type is not None
}
"""The class of each request; it is named alike in both encodings."""
_REQUEST_NUMBERS = {wire.Command.DESCRIPTOR.fields_by_name[name].number for name in _REQUESTS}


class ProtobufCodec:
    """Protobuf in binary frames; payloads are raw bytes."""

    name = "protobuf"
    is_text = False
    ping = b"\x00"

    def decode(self, frame: bytes) -> Iterator[m.Command]:
        """Give the commands of a frame, each preceded by its length."""
        if not frame:
            raise MalformedFrameError("an empty frame")
        start = 0
        while start < len(frame):
            length, start = _length(frame, start)
            stop = start + length
            if stop > len(frame):
                raise MalformedFrameError("a message is longer than its frame")
            yield _command(frame[start:stop])
            start = stop

    def encode(self, reply: m.Reply) -> bytes:
        """Return the reply with its length before it."""
        fields = msgspec.to_builtins(reply, builtin_types=(bytes,), enc_hook=bytes)  # the hook is for payloads
        body = wire.Reply(**fields).SerializeToString(deterministic=True)
        return _prefix(len(body)) + body

    def join(self, messages: Iterable[bytes]) -> bytes:
        """Concatenate."""
        return b"".join(messages)


def _command(data: bytes) -> m.Command:
    try:
        message = wire.Command.FromString(data)
    except DecodeError as error:
        raise MalformedFrameError(str(error)) from None
    if message.id > _MAX_32:
        raise MalformedFrameError("an id beyond 32 bits")
    if message.ByteSize() != len(data) and len(_numbers(data) & _REQUEST_NUMBERS) > 1:  # else it holds each field once
        raise MalformedFrameError("a command with two requests")
    command = m.Command(message.id)
    name = message.WhichOneof("request")
    if name is not None:
        fields = getattr(message, name).ListFields()
        values = {field.name: msgspec.Raw(value) if isinstance(value, bytes) else value for field, value in fields}
        setattr(command, name, _REQUESTS[name](**values))
    return command


def _numbers(data: bytes) -> set[int]:
    """Return the numbers of the fields in a message, those too that another one of their ``oneof`` took the place of."""
    fields = UnknownFieldSet(wire.Empty.FromString(data))
    return {fields[place].field_number for place in range(len(fields))}


def _length(frame: bytes, position: int) -> tuple[int, int]:
    """Return the varint at a position and the position behind it."""
    length = shift = 0
    for place in range(position, len(frame)):
        byte = frame[place]
        length |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004  the last group of seven bits
            return length, place + 1
        shift += 7
        if shift > _MAX_SHIFT:
            break
    raise MalformedFrameError("a length that does not end")


def _prefix(length: int) -> bytes:
    """Return a varint."""
    groups = bytearray()
    while length >= 0x80:  # noqa: PLR2004  more groups of seven bits follow
        groups.append(length & 0x7F | 0x80)
        length >>= 7
    groups.append(length)
    return bytes(groups)
