"""Both encodings: published vectors, the SDK's own protobuf classes as a second opinion, payloads byte by byte."""

import json
from contextlib import suppress

import centrifuge.protocol.client_pb2 as sdk
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stylobate_realtime import codes
from stylobate_realtime.channels import PayloadInvalidError, checked_payload
from stylobate_realtime.protocol import MalformedFrameError
from stylobate_realtime.protocol import messages as m
from stylobate_realtime.protocol.json_codec import JsonCodec
from stylobate_realtime.protocol.protobuf_codec import ProtobufCodec

JSON, PROTOBUF = JsonCodec(), ProtobufCodec()

COMMANDS = {
    "0d080122090a0361626322026a73": m.Command(id=1, connect=m.ConnectRequest(token="abc", name="js")),
    "0c08022a080a046e6577737001": m.Command(id=2, subscribe=m.SubscribeRequest(channel="news")),
    "1308033a0f0a046e65777312077b2261223a317d": m.Command(
        id=3, publish=m.PublishRequest(channel="news", data=msgspec.Raw(b'{"a":1}'))
    ),
    "15080452110a046e65777338ffffffffffffffffff01": m.Command(id=4, history=m.ChannelRequest(channel="news")),
    "00": m.Command(),
}
REPLIES = {
    "0f08012a0b0a02343212013138194001": m.Reply(id=1, connect=m.ConnectResult(client="42", version="1", ping=25, pong=True)),
    "0e0802320a18013202616248075001": m.Reply(
        id=2, subscribe=m.SubscribeResult(recoverable=True, positioned=True, epoch="ab", offset=7)
    ),
    "0408034200": m.Reply(id=3, publish=m.Empty()),
    "1908031215086712117065726d697373696f6e2064656e696564": m.Reply(id=3, error=codes.PERMISSION_DENIED),
    "15221312046e657773220b22077b2261223a317d3008": m.Reply(
        push=m.Push(channel="news", pub=m.Publication(data=msgspec.Raw(b'{"a":1}'), offset=8))
    ),
}


@pytest.mark.parametrize("vector", COMMANDS)
def test_protobuf_command_vectors(vector):
    """Each vector of the specification decodes to its command; fields that this server does not know are skipped."""
    assert list(PROTOBUF.decode(bytes.fromhex(vector))) == [COMMANDS[vector]]


@pytest.mark.parametrize("vector", REPLIES)
def test_protobuf_reply_vectors(vector):
    """Each reply encodes to the vector of the specification."""
    assert PROTOBUF.encode(REPLIES[vector]).hex() == vector


def test_every_kind_of_reply_is_what_the_sdk_reads():
    """Joins, leaves, presence, statistics, tags and negative answers parse with the SDK's generated classes."""
    ann = m.ClientInfo("ann", "c1")
    replies = [
        m.Reply(push=m.Push(channel="chat:1", join=m.Membership(ann))),
        m.Reply(push=m.Push(channel="chat:1", leave=m.Membership(ann))),
        m.Reply(push=m.Push(channel="chat:1", unsubscribe=m.Unsubscribe(2500, "insufficient state"))),
        m.Reply(push=m.Push(channel="chat:1", pub=m.Publication(msgspec.Raw(b"1"), ann, tags={"a": "1", "b": ""}))),
        m.Reply(id=1, presence=m.PresenceResult({"c1": ann})),
        m.Reply(id=2, presence_stats=m.PresenceStatsResult(3, 2)),
        m.Reply(id=3, refresh=m.RefreshResult("c1", "1", expires=True, ttl=600)),
        m.Reply(id=4, error=codes.INTERNAL),
    ]
    for reply in replies:
        parsed = sdk.Reply()
        message = PROTOBUF.encode(reply)
        assert message[0] == len(message) - 1
        parsed.ParseFromString(message[1:])
        assert parsed.SerializeToString(deterministic=True) == message[1:]
    assert parsed.error.temporary


@given(st.text(), st.text(), st.binary(), st.integers(0, 2**32 - 1), st.booleans())
def test_protobuf_commands_of_the_sdk_are_understood(channel, token, data, number, flag):
    """Whatever the SDK's generated classes encode, we decode to the same values."""
    subscribe = sdk.SubscribeRequest(channel=channel, token=token, data=data, join_leave=flag, flag=number, recover=flag)
    body = sdk.Command(id=number, subscribe=subscribe).SerializeToString()
    other = sdk.Command(id=1, publish=sdk.PublishRequest(channel=channel, data=data)).SerializeToString()
    frame = b"".join(_varint(len(part)) + part for part in (body, other))
    first, second = PROTOBUF.decode(frame)
    assert (first.id, first.subscribe.channel or "", first.subscribe.token or "") == (number, channel, token)
    assert (bytes(first.subscribe.data), bool(first.subscribe.join_leave)) == (data, flag)
    assert bytes(second.publish.data) == data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


@given(st.binary())
def test_junk_is_refused_and_nothing_else_happens(frame):
    """Any bytes either decode or are refused as malformed, in both encodings."""
    for codec in (JSON, PROTOBUF):
        with suppress(MalformedFrameError):
            assert len(list(codec.decode(frame))) > 0


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"\n", b"[]", b"{", b'{"id":-1}', b'{"id":4294967296}', b'{"id":"1"}', b"{}\n\n{}", b'{"a":"\xff"}',
        b'{"id":1,"publish":{"data":"\xff"}}',
    ],
)  # fmt: skip
def test_malformed_json_is_refused(frame):
    """A frame without a message, with a broken one or with text that is not UTF-8 is malformed."""
    with pytest.raises(MalformedFrameError):
        list(JSON.decode(frame))


@pytest.mark.parametrize(
    "frame", ["", "05", "0208", "02080a0a", "0608ffffffffff10", "0122", "022205", "0a08ffffffffffffffffff7f"]
)
def test_malformed_protobuf_is_refused(frame):
    """A frame that is empty, cut off, or holds numbers beyond their size is malformed."""
    with pytest.raises(MalformedFrameError):
        list(PROTOBUF.decode(bytes.fromhex(frame)))


def test_a_command_has_one_request():
    """Of two requests in one command none is carried out, whichever came last; one that comes in two pieces is one."""
    two = [sdk.Command(id=1, publish=sdk.PublishRequest(channel="a")), sdk.Command(presence=sdk.PresenceRequest(channel="b"))]
    for parts in (two, two[::-1]):
        body = b"".join(part.SerializeToString() for part in parts)
        with pytest.raises(MalformedFrameError):
            list(PROTOBUF.decode(_varint(len(body)) + body))
    pieces = [two[0], sdk.Command(publish=sdk.PublishRequest(data=b"{}"))]
    body = b"".join(part.SerializeToString() for part in pieces)
    (command,) = PROTOBUF.decode(_varint(len(body)) + body)
    assert (command.publish.channel, bytes(command.publish.data)) == ("a", b"{}")
    with pytest.raises(MalformedFrameError):
        list(JSON.decode(b'{"id":1,"publish":{"channel":"a"},"presence":{"channel":"b"}}'))


@pytest.mark.parametrize("body", [b"\xa3\x06" * 1000, b"\x80" * 1000], ids=["groups", "number"])
def test_a_message_without_end_is_malformed(body):
    """Groups within groups, and a length of a thousand bytes, are given up early."""
    for frame in (body, bytes([len(body) & 0x7F | 0x80, len(body) >> 7]) + body):
        with pytest.raises(MalformedFrameError):
            list(PROTOBUF.decode(frame))


def test_json_frames():
    """Several commands a frame, one trailing newline, a pong, unknown fields, and null where a text could be."""
    frame = b'{"id":1,"connect":{"token":null,"x":[1]}}\n{}\n{"id":2,"subscribe":{"channel":"a","flag":1}}\n'
    connect, pong, subscribe = JSON.decode(frame)
    assert connect == m.Command(id=1, connect=m.ConnectRequest())
    assert pong == m.Command()
    assert subscribe.subscribe.channel == "a"


@pytest.mark.parametrize("data", [b'{ "b":1,"a" :1.0e1}', b"0", b"false", b'""', b"null", b'"a\\nb"', '"hällo 🎉"'.encode()])
def test_json_payload_passes_untouched(data):
    """The order of keys and the spelling of numbers stay as they came, falsy values are values."""
    (command,) = JSON.decode(b'{"id":1,"publish":{"channel":"a","data":' + data + b"}}")
    assert bytes(command.publish.data) == data
    push = m.Reply(push=m.Push(channel="a", pub=m.Publication(msgspec.Raw(bytes(command.publish.data)))))
    assert JSON.encode(push) == b'{"push":{"channel":"a","pub":{"data":' + data + b"}}}"


def test_json_message_holds_no_raw_newline():
    """A payload that a service formatted over several lines still is one line of the frame."""
    push = m.Reply(push=m.Push(channel="a", pub=m.Publication(msgspec.Raw(b'{\n "a": 1\n}'))))
    assert b"\n" not in JSON.encode(push)
    assert msgspec.json.decode(JSON.encode(push))["push"]["pub"]["data"] == {"a": 1}


def test_json_results_that_must_be_there():
    """Empty results, zero counts and empty presence are sent; a ping is an empty object."""
    assert JSON.encode(m.Reply(id=3, publish=m.Empty())) == b'{"id":3,"publish":{}}'
    assert JSON.encode(m.Reply(id=3, subscribe=m.SubscribeResult())) == b'{"id":3,"subscribe":{}}'
    assert JSON.encode(m.Reply(id=3, presence=m.PresenceResult({}))) == b'{"id":3,"presence":{"presence":{}}}'
    stats = JSON.encode(m.Reply(id=3, presence_stats=m.PresenceStatsResult(0, 0)))
    assert stats == b'{"id":3,"presence_stats":{"num_clients":0,"num_users":0}}'
    error = JSON.encode(m.Reply(id=4, error=codes.PERMISSION_DENIED))
    assert error == b'{"id":4,"error":{"code":103,"message":"permission denied"}}'
    assert JSON.encode(m.Reply()) == JSON.ping == b"{}"
    assert PROTOBUF.encode(m.Reply()) == PROTOBUF.ping


_NESTED = [b"[" * 30_000, b'{"a":' * 9_000, b'{"id":1,"publish":{"channel":"a:1","data":' + b"[" * 30_000 + b"]" * 30_000 + b"}}"]


@pytest.mark.parametrize("deep", _NESTED, ids=["lists", "objects", "payload"])
def test_deep_nesting_is_malformed(deep):
    """Nesting that no parser follows is a malformed frame."""
    with pytest.raises(MalformedFrameError):
        list(JSON.decode(deep))


_NAMES = st.sampled_from(sorted(m.Command.__struct_fields__))
_JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.one_of(st.binary(max_size=200), _JSON_VALUES.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))))
def test_any_frame_is_commands_or_malformed(frame):
    """Both encodings: any bytes are commands or MalformedFrameError, never anything else."""
    for codec in (JSON, PROTOBUF):
        with suppress(MalformedFrameError):
            assert all(isinstance(command, m.Command) for command in codec.decode(frame))


_PAYLOADS = st.one_of(
    _JSON_VALUES.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([
        b"1e400", b"-1e999", b"1" * 400, b"18446744073709551616", b'"\\ud800"', b'"\\u0000"', b"NaN", b'{"a":1,"a":2}',
        b"[" * 2000 + b"]" * 2000, b"\xef\xbb\xbf1", "1".encode("utf-16"), b"\xff", b'"\x00"', b" [1,\n2]\r\n",
    ]),
    st.binary(max_size=20),
)  # fmt: skip


@given(_PAYLOADS)
def test_what_is_accepted_can_be_read_by_everybody(payload):
    """A payload is refused, or subscribers of both encodings, and their JSON parsers, can read it."""
    try:
        data = checked_payload(payload, 65_536)
    except PayloadInvalidError:
        return
    reply = m.Reply(push=m.Push(channel="a:1", pub=m.Publication(data=msgspec.Raw(data))))
    line = JSON.encode(reply)
    assert b"\n" not in line
    value = json.loads(line, parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))["push"]["pub"]["data"]
    assert value == json.loads(payload)
    json.dumps(value, allow_nan=False)
    str(value).encode()  # no lone surrogate
    assert payload in PROTOBUF.encode(reply)
