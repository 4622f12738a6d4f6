"""The protobuf encoding: length-prefixed messages, driven by a table of field numbers.

A table instead of generated classes: both encodings then share the same message classes, and raw payloads pass untouched.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Raw, Struct

from stylobate_realtime.protocol import MalformedFrameError
from stylobate_realtime.protocol import messages as m
from stylobate_realtime.protocol.protobuf_wire import (
    FIXED32,
    FIXED64,
    LENGTH,
    VARINT,
    Field,
    Kind,
    TruncatedError,
    read_varint,
    varint,
)

_MAX_ID = 2**32 - 1

_CHANNEL = (Field(1, "channel"),)
_MEMBERSHIP = (Field(1, "info", Kind.MESSAGE, m.ClientInfo),)

TABLES: dict[type[Struct], tuple[Field, ...]] = {
    m.ConnectRequest: (Field(1, "token"), Field(2, "data", Kind.RAW), Field(4, "name"), Field(5, "version")),
    m.SubscribeRequest: (
        Field(1, "channel"),
        Field(2, "token"),
        Field(3, "recover", Kind.BOOL),
        Field(8, "data", Kind.RAW),
        Field(11, "join_leave", Kind.BOOL),
        Field(12, "delta"),
        Field(13, "tf", Kind.RAW),
        Field(15, "type", Kind.INT),
    ),
    m.ChannelRequest: _CHANNEL,
    m.PublishRequest: (Field(1, "channel"), Field(2, "data", Kind.RAW), Field(3, "type", Kind.INT)),
    m.RpcRequest: (Field(1, "data", Kind.RAW), Field(2, "method")),
    m.RefreshRequest: (Field(1, "token"),),
    m.SubRefreshRequest: (Field(1, "channel"), Field(2, "token"), Field(3, "type", Kind.INT)),
    m.SendRequest: (Field(1, "data", Kind.RAW),),
    m.Empty: (),
    m.Command: (
        Field(1, "id", Kind.INT),
        Field(4, "connect", Kind.MESSAGE, m.ConnectRequest),
        Field(5, "subscribe", Kind.MESSAGE, m.SubscribeRequest),
        Field(6, "unsubscribe", Kind.MESSAGE, m.ChannelRequest),
        Field(7, "publish", Kind.MESSAGE, m.PublishRequest),
        Field(8, "presence", Kind.MESSAGE, m.ChannelRequest),
        Field(9, "presence_stats", Kind.MESSAGE, m.ChannelRequest),
        Field(10, "history", Kind.MESSAGE, m.ChannelRequest),
        Field(11, "ping", Kind.MESSAGE, m.Empty),
        Field(12, "send", Kind.MESSAGE, m.SendRequest),
        Field(13, "rpc", Kind.MESSAGE, m.RpcRequest),
        Field(14, "refresh", Kind.MESSAGE, m.RefreshRequest),
        Field(15, "sub_refresh", Kind.MESSAGE, m.SubRefreshRequest),
    ),
    m.Error: (Field(1, "code", Kind.INT), Field(2, "message"), Field(3, "temporary", Kind.BOOL)),
    m.ClientInfo: (Field(1, "user"), Field(2, "client")),
    m.Publication: (
        Field(4, "data", Kind.RAW),
        Field(5, "info", Kind.MESSAGE, m.ClientInfo),
        Field(6, "offset", Kind.INT),
        Field(7, "tags", Kind.TEXT_MAP),
    ),
    m.Membership: _MEMBERSHIP,
    m.Unsubscribe: (Field(2, "code", Kind.INT), Field(3, "reason")),
    m.Push: (
        Field(2, "channel"),
        Field(4, "pub", Kind.MESSAGE, m.Publication),
        Field(5, "join", Kind.MESSAGE, m.Membership),
        Field(6, "leave", Kind.MESSAGE, m.Membership),
        Field(7, "unsubscribe", Kind.MESSAGE, m.Unsubscribe),
    ),
    m.ConnectResult: (
        Field(1, "client"),
        Field(2, "version"),
        Field(3, "expires", Kind.BOOL),
        Field(4, "ttl", Kind.INT),
        Field(7, "ping", Kind.INT),
        Field(8, "pong", Kind.BOOL),
    ),
    m.SubscribeResult: (
        Field(3, "recoverable", Kind.BOOL),
        Field(6, "epoch"),
        Field(8, "recovered", Kind.BOOL),
        Field(9, "offset", Kind.INT),
        Field(10, "positioned", Kind.BOOL),
        Field(12, "was_recovering", Kind.BOOL),
    ),
    m.RefreshResult: (
        Field(1, "client"),
        Field(2, "version"),
        Field(3, "expires", Kind.BOOL),
        Field(4, "ttl", Kind.INT),
    ),
    m.PresenceResult: (Field(1, "presence", Kind.MESSAGE_MAP, m.ClientInfo),),
    m.PresenceStatsResult: (Field(1, "num_clients", Kind.INT), Field(2, "num_users", Kind.INT)),
    m.Reply: (
        Field(1, "id", Kind.INT),
        Field(2, "error", Kind.MESSAGE, m.Error),
        Field(4, "push", Kind.MESSAGE, m.Push),
        Field(5, "connect", Kind.MESSAGE, m.ConnectResult),
        Field(6, "subscribe", Kind.MESSAGE, m.SubscribeResult),
        Field(7, "unsubscribe", Kind.MESSAGE, m.Empty),
        Field(8, "publish", Kind.MESSAGE, m.Empty),
        Field(9, "presence", Kind.MESSAGE, m.PresenceResult),
        Field(10, "presence_stats", Kind.MESSAGE, m.PresenceStatsResult),
        Field(14, "refresh", Kind.MESSAGE, m.RefreshResult),
    ),
}


class ProtobufCodec:
    """Protobuf in binary frames; payloads are raw bytes."""

    name = "protobuf"
    is_text = False
    ping = b"\x00"

    def __init__(self) -> None:
        self._by_number = {message: {field.number: field for field in fields} for message, fields in TABLES.items()}

    def decode(self, frame: bytes) -> Iterator[m.Command]:
        """Give the commands of a frame, each preceded by its length."""
        position, end = 0, len(frame)
        if not frame:
            raise MalformedFrameError("an empty frame")
        try:
            while position < end:
                length, position = read_varint(frame, position, end)
                if length > end - position:
                    raise TruncatedError("a message is longer than its frame")
                command = self._message(m.Command, frame, position, position + length)
                if command.id > _MAX_ID:
                    raise TruncatedError("an id beyond 32 bits")
                yield command
                position += length
        except (TruncatedError, UnicodeDecodeError) as error:
            raise MalformedFrameError(str(error)) from None

    def encode(self, reply: m.Reply) -> bytes:
        """Return the reply with its length before it."""
        body = _encode(reply)
        return varint(len(body)) + body

    def join(self, messages: Iterable[bytes]) -> bytes:
        """Concatenate."""
        return b"".join(messages)

    def _message(self, message: type[Struct], data: bytes, position: int, end: int) -> Any:
        fields = self._by_number[message]
        values: dict[str, Any] = {}
        while position < end:
            key, position = read_varint(data, position, end)
            field, wire = fields.get(key >> 3), key & 7
            if wire == VARINT:
                number, position = read_varint(data, position, end)
                if field is not None and field.kind.wire == VARINT:
                    values[field.name] = bool(number) if field.kind is Kind.BOOL else number
                continue
            start = position
            if wire == LENGTH:
                length, start = read_varint(data, position, end)
                position = start + length
            elif wire in {FIXED64, FIXED32}:
                position += 8 if wire == FIXED64 else 4
            else:
                raise TruncatedError(f"a wire type {wire} that nobody sends")
            if position > end:
                raise TruncatedError("a field is longer than its message")
            if wire == LENGTH and field is not None and field.kind.wire == LENGTH:
                values[field.name] = self._bytes(field, data, start, position)
        return message(**values)

    def _bytes(self, field: Field, data: bytes, start: int, end: int) -> Any:
        if field.kind is Kind.MESSAGE:
            assert field.message is not None  # noqa: S101  for the type checker; the table gives one
            return self._message(field.message, data, start, end)
        if field.kind is Kind.RAW:
            return Raw(data[start:end])
        return data[start:end].decode()


def _encode(message: Struct) -> bytes:
    parts: list[bytes] = []
    for field in TABLES[type(message)]:
        value = getattr(message, field.name)
        if value is None:
            continue
        kind = field.kind
        if kind is Kind.MESSAGE:
            body = _encode(value)  # an empty submessage is still sent: clients look whether it is there
        elif not value and kind is not Kind.RAW:
            continue
        elif kind.wire == VARINT:
            parts.append(field.key + varint(int(value)))
            continue
        elif kind is Kind.TEXT_MAP:
            parts += [_entry(field, key, text.encode()) for key, text in value.items()]
            continue
        elif kind is Kind.MESSAGE_MAP:
            parts += [_entry(field, key, _encode(entry)) for key, entry in value.items()]
            continue
        else:
            body = bytes(value) if kind is Kind.RAW else value.encode()
            if not body:
                continue
        parts.append(field.key + varint(len(body)) + body)
    return b"".join(parts)


def _entry(field: Field, key: str, value: bytes) -> bytes:
    name = key.encode()
    body = b"\x0a" + varint(len(name)) + name + b"\x12" + varint(len(value)) + value
    return field.key + varint(len(body)) + body
