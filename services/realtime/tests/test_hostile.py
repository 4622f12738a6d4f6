"""Hostile bytes on real sockets: each is answered by a code, none by a traceback, and others are not disturbed."""

import asyncio
import json
import random

import pytest
import structlog
from stylobate_realtime.wire.framing import Opcode

from .clients import PATIENCE_S
from .test_framing import masked

HEAD = (
    "GET /v1/realtime{query} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
)


@pytest.fixture
async def raised():
    """Give what reached the loop's handler of exceptions, and have nothing logged as a defect."""
    loop, found = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _loop, context: found.append(context))
    with structlog.testing.capture_logs() as logs:
        yield found
    loop.set_exception_handler(None)
    assert found == []
    defects = {"realtime_connection_failed", "realtime_command_failed", "broadcast_not_delivered"}
    assert [entry for entry in logs if entry["event"] in defects] == []


async def _talk(node, *frames: bytes, more="", host="127.0.0.1", query="") -> bytes:
    """Send the upgrade and the frames, and return all that comes until the server has closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(HEAD.format(more=more, host=host, query=query).encode("latin-1"))
    if frames:
        await reader.readuntil(b"\r\n\r\n")
    try:
        writer.write(b"".join(frames))
        async with asyncio.timeout(PATIENCE_S):
            answer = b""
            while b"\x88" not in answer and (data := await reader.read(65_536)):
                answer += data
    except ConnectionResetError:
        answer = b""
    finally:
        writer.close()
    return answer


def _close_code(answer: bytes) -> int:
    at = answer.rindex(b"\x88")
    return int.from_bytes(answer[at + 2 : at + 4], "big")


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (masked(Opcode.TEXT, b"[" * 30_000), 3501),
        (masked(Opcode.TEXT, b'{"a":' * 10_000), 3501),
        (masked(Opcode.TEXT, b'{"id":1,"connect":{"data":' + b"[" * 30_000 + b"]" * 30_000 + b"}}"), 3501),
        (masked(Opcode.TEXT, b'{"id":1e999}'), 3501),
        (masked(Opcode.TEXT, b'{"id":' + b"9" * 5000 + b"}"), 3501),
        (masked(Opcode.TEXT, b""), 3501),
        (masked(Opcode.BINARY, b"\xff" * 20), 3501),
        (masked(Opcode.TEXT, b"\xff"), 1007),
        (masked(Opcode.TEXT, b"\xff" * 500)[:20], 1007),
        (bytes((0x82, 0x80 | 126, 0, 1)), 1002),
        (masked(Opcode.CLOSE, b"\x03"), 1002),
        (masked(Opcode.CLOSE, b"\x03\xe8\xff"), 1007),
        (masked(Opcode.BINARY, b"x" * 70_000), 1009),
        (masked(Opcode.PING, b"x") * 150, 1008),
        (masked(Opcode.PONG, b"x") * 150, 1008),
        (masked(Opcode.TEXT, b"", final=False) + masked(Opcode.CONTINUATION, b"", final=False) * 2000, 1008),
    ],
)
async def test_frame_that_breaks_something_has_its_code(node, raised, frame, code):
    """A table of frames that once ended, or could have ended, in a traceback."""
    assert _close_code(await _talk(node, frame)) == code


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"more": "Origin: http://[\r\n"}, 403),
        ({"more": "Origin: \xff\r\n"}, 403),
        ({"more": "Origin: http://a\xe2b:99999999\r\n"}, 403),
        ({"more": "Origin: null\r\n"}, 403),
        ({"more": "Host: 127.0.0.1\r\n"}, 400),
        ({"host": ""}, 400),
        ({"host": "["}, 400),
        ({"query": "?" + "a&" * 100}, 400),
        ({"more": "X-Forwarded-For: [, \xff, ::1]\r\n"}, 101),
        ({"more": "Sec-WebSocket-Protocol: \xff, ,\r\n"}, 101),
    ],
)
async def test_handshake_that_breaks_something_has_its_status(node, raised, changed, status):
    """A table of upgrade requests, likewise."""
    answer = await _talk(node, masked(Opcode.TEXT, b""), **changed) if status == 101 else await _talk(node, **changed)
    assert _close_code(answer) == 3501 if status == 101 else answer.startswith(f"HTTP/1.1 {status} ".encode())


def _nasty(chance: random.Random, token: str) -> list[bytes]:
    """Return frames of a connected client: commands with anything in any place, cut and flipped at random."""
    leaves = [
        None,
        True,
        -1,
        2**64,
        1e308,
        "",
        "a:1",
        "chat:1",
        "\x00",
        "\U0001f600",
        [],
        {},
        token,
        "x" * 300,
        [[[]]],
        {"a": {"b": 1}},
    ]
    names = ["id", "connect", "subscribe", "unsubscribe", "publish", "presence", "presence_stats", "history", "rpc", "send",
             "refresh", "sub_refresh", "ping", "channel", "token", "data", "type", "delta", "tf", "recover"]  # fmt: skip

    def value(depth: int):
        if depth == 0 or chance.random() < 0.3:
            return chance.choice(leaves)
        return {chance.choice(names): value(depth - 1) for _ in range(chance.randint(0, 3))}

    frames = [masked(Opcode.TEXT, json.dumps({"id": 1, "connect": {"token": token}}).encode())]
    for _ in range(chance.randint(1, 6)):
        text = json.dumps({"id": chance.choice([2, 0, 2**32]), chance.choice(names): value(3)}).encode()
        if chance.random() < 0.3:
            cut = bytearray(text)
            cut[chance.randrange(len(cut))] = chance.randrange(256)
            text = bytes(cut)
        frames.append(masked(chance.choice([1, 1, 1, 2, 9, 10, 0, 8]), text, final=chance.random() < 0.9))
    return frames


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("query", ["", "?format=protobuf"], ids=["json", "protobuf"])
async def test_anything_at_all_is_survived(platform, node, connect, raised, seed, query):
    """A few hundred connections say what nobody should; somebody who is subscribed all the while hears everything."""
    chance = random.Random(seed)
    ann = await connect(node.url, platform.auth.token("ann"))
    _, seen = await ann.subscribe("news:1")
    for number in range(60):
        frames = _nasty(chance, platform.auth.token("eve")) if chance.random() < 0.8 else [chance.randbytes(300)]
        await _talk(node, *frames, masked(Opcode.CLOSE, b""), query=query)
        await node.publish("news:1", number)
    await seen.wait("publication", 60)
    assert [context.pub.data for context in seen.of("publication")] == list(range(60))
