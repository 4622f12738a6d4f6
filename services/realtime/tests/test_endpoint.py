"""The endpoint under a real uvicorn server, spoken to in bytes."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from stylobate.testing.until import until
from stylobate_realtime.codes import SHUTDOWN
from stylobate_realtime.wire.framing import Opcode, frame

PATIENCE_S = 60.0


class Peer:
    """A WebSocket client that does what no library would."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def upgrade(self, path: str = "/v1/realtime", **headers: str) -> tuple[int, bytes]:
        """Ask for the upgrade; return status and head."""
        fields = {
            "Host": "localhost", "Upgrade": "websocket", "Connection": "keep-alive, Upgrade", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        } | {name.replace("_", "-"): value for name, value in headers.items()}  # fmt: skip
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        self.writer.write("\r\n".join(lines).encode())
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
        return int(head.split()[1]), head

    def send(self, opcode: int, payload: bytes, *, final: bool = True) -> None:
        """Send a masked frame."""
        encoded = frame(opcode, payload)
        head = encoded[: len(encoded) - len(payload)]
        mask = os.urandom(4)
        body = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self.writer.write(bytes((opcode | 0x80 * final, head[1] | 0x80)) + head[2:] + mask + body)

    def say(self, *commands: Any) -> None:
        """Send commands in one text frame."""
        self.send(Opcode.TEXT, "\n".join(json.dumps(command) for command in commands).encode())

    async def frame(self) -> tuple[int, bytes]:
        """Return the next frame: opcode and payload."""
        async with asyncio.timeout(PATIENCE_S):
            first, second = await self.reader.readexactly(2)
            assert not second & 0x80  # a server never masks
            size = second
            if size >= 126:
                size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
            return first & 0x0F, await self.reader.readexactly(size)

    async def hear(self) -> Any:
        """Return the next message."""
        opcode, payload = await self.frame()
        assert opcode == Opcode.TEXT
        return json.loads(payload)

    async def closed(self) -> int:
        """Return the code of the close frame that comes next."""
        opcode, payload = await self.frame()
        assert opcode == Opcode.CLOSE, payload
        return int.from_bytes(payload[:2], "big")

    async def ended(self) -> None:
        """Wait until the server has closed the connection."""
        async with asyncio.timeout(PATIENCE_S):
            assert await self.reader.read() == b""


Dial = Callable[[Any], Any]


@asynccontextmanager
async def _dial(node: Any) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()


@pytest.fixture
async def peer(node) -> AsyncIterator[Peer]:
    """Give a peer before its upgrade."""
    async with _dial(node) as peer:
        yield peer


@pytest.mark.parametrize("http", ["httptools", "h11"])
async def test_whole_exchange(platform, serve, http):
    """Under both of uvicorn's HTTP parsers: upgrade, connect, subscribe in one frame, push, and a close in good order."""
    async with serve(http=http) as node, _dial(node) as peer:
        status, head = await peer.upgrade("/connection/websocket?cf_protocol=json", Sec_WebSocket_Protocol="centrifuge-json")
        assert (status, b"Sec-WebSocket-Protocol: centrifuge-json\r\n" in head) == (101, True)
        peer.say({"id": 1, "connect": {"token": platform.auth.token()}}, {"id": 2, "subscribe": {"channel": "news:1"}})
        assert (await peer.hear())["connect"]["ping"] == 25
        assert await peer.hear() == {"id": 2, "subscribe": {}}
        await node.publish("news:1", {"n": 1})
        assert await peer.hear() == {"push": {"channel": "news:1", "pub": {"data": {"n": 1}}}}
        peer.send(Opcode.CLOSE, (1000).to_bytes(2, "big"))
        assert await peer.closed() == 1000
        await peer.ended()
        assert (await node.manager.health()).metrics["connections"] == 0


async def test_an_idle_socket_holds_no_task(platform, node, peer):
    """What let it in, and what carried out its commands, is over: a task that has ended is a sixth of such a socket's memory."""
    await peer.upgrade()
    peer.say({"id": 1, "connect": {"token": platform.auth.token()}}, {"id": 2, "subscribe": {"channel": "news:1"}})
    await peer.hear()
    await peer.hear()
    (session,) = node.manager._sessions
    await until(lambda: session.worker is None)
    held = [session, session._connection, session._queue]
    values = [getattr(one, name, None) for one in held for name in slots(type(one))]
    assert [value for value in values if isinstance(value, asyncio.Task | asyncio.Handle)] == []


def slots(kind: type) -> list[str]:
    """Return the attributes of a class that keeps them in slots."""
    return [name for one in kind.__mro__ for name in one.__dict__.get("__slots__", ())]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/elsewhere", {}, 404),
        ("/v1/realtime", {"Origin": "https://evil.example"}, 403),
        ("/v1/realtime", {"Sec_WebSocket_Version": "7"}, 426),
        ("/v1/realtime", {"Sec_WebSocket_Key": "short"}, 400),
    ],
)
async def test_refused_upgrades_get_a_problem(peer, path, headers, status):
    """What is not accepted gets an HTTP problem, and the connection ends."""
    found, head = await peer.upgrade(path, **headers)
    assert found == status
    assert b"content-type: application/problem+json" in head
    body = json.loads(await peer.reader.read())
    assert body["status"] == status
    assert body["code"]


async def test_native_ping_and_fragments(platform, peer):
    """A WebSocket ping is answered with its payload, also between the fragments of a command; binary frames carry JSON too."""
    await peer.upgrade()
    command = json.dumps({"id": 1, "connect": {"token": platform.auth.token()}}).encode()
    peer.send(Opcode.BINARY, command[:20], final=False)
    peer.send(Opcode.PING, b"still there?")
    assert await peer.frame() == (Opcode.PONG, b"still there?")
    peer.send(Opcode.CONTINUATION, command[20:])
    assert (await peer.hear())["id"] == 1


async def test_broken_frames_close_with_their_code(serve):
    """Too long: 1009; not UTF-8: 1007; not masked: 1002; not parseable or empty: 3501."""
    async with serve(frame_bytes=1024) as node:
        for opcode, payload, code in (
            (Opcode.TEXT, b"x" * 1025, 1009),
            (Opcode.TEXT, b"\xff", 1007),
            (0x3, b"", 1002),
            (Opcode.TEXT, b"{", 3501),
            (Opcode.TEXT, b"", 3501),
        ):
            async with _dial(node) as peer:
                await peer.upgrade()
                peer.send(opcode, payload)
                assert await peer.closed() == code


async def test_server_does_not_wait_for_ever_for_a_close(serve):
    """A peer that never answers the close frame is dropped after the close timeout."""
    async with serve(close_timeout=timedelta(seconds=0.05)) as node, _dial(node) as peer:
        await peer.upgrade()
        peer.say({"id": 1, "connect": {"token": "junk"}})
        assert await peer.closed() == 3500
        await peer.ended()


async def test_stale_socket_is_closed_in_real_time(serve):
    """A socket that never connects is closed with 3502 by the running timers."""
    async with serve(stale_after=timedelta(seconds=0.5)) as node, _dial(node) as peer:
        await peer.upgrade()
        assert await peer.closed() == 3502


async def test_reader_that_stops_reading_is_dropped_and_others_are_not(platform, serve):
    """A peer that takes nothing while publications go on is dropped; a reading one gets every single one, in order."""
    async with serve(queue_bytes=65_536) as node, _dial(node) as slow, _dial(node) as quick:
        for peer in (slow, quick):
            await peer.upgrade()
            peer.say({"id": 1, "connect": {"token": platform.auth.token()}}, {"id": 2, "subscribe": {"channel": "news:1"}})
            assert (await peer.hear())["id"] == 1
            assert (await peer.hear())["id"] == 2
        slow.writer.transport.pause_reading()
        n = 0
        async with asyncio.timeout(60):
            while (await node.manager.health()).metrics["connections"] == 2:
                await node.publish("news:1", {"n": n, "padding": "x" * 20_000})
                assert (await quick.hear())["push"]["pub"]["data"]["n"] == n
                n += 1


async def test_reader_that_is_behind_for_a_while_gets_all_in_order(platform, serve):
    """What a socket takes in part, or not at all for now, comes behind what waits; who has caught up is written to straight."""
    async with serve() as node, _dial(node) as peer:
        await peer.upgrade()
        peer.say({"id": 1, "connect": {"token": platform.auth.token()}}, {"id": 2, "subscribe": {"channel": "news:1"}})
        assert [(await peer.hear())["id"], (await peer.hear())["id"]] == [1, 2]
        (session,) = node.manager._sessions
        published, got = 0, []

        async def publish(padding: str = "") -> None:
            nonlocal published
            await node.publish("news:1", {"n": published, "padding": padding})
            published += 1

        for _ in range(3):
            await until(lambda: session.descriptor >= 0)
            peer.writer.transport.pause_reading()
            while session.descriptor >= 0:
                await publish("x" * 7_000)
                await asyncio.sleep(0)
            for _ in range(4):
                await publish()  # behind what waits
                peer.say({"id": 3, "subscribe": {"channel": "closed:1"}})  # its reply is the connection's own
                await asyncio.sleep(0)
            peer.writer.transport.resume_reading()
            while len(got) < published:
                message = await peer.hear()
                if "push" in message:
                    got.append(message["push"]["pub"]["data"]["n"])
                else:
                    assert message["id"] == 3
            await publish()  # by which it is found to have caught up
        assert got == list(range(published - 1))
        session.end(SHUTDOWN)
        assert session.descriptor == -1  # at once: the number may soon be another socket's


async def test_what_is_sent_in_a_turn_leaves_in_one_write(platform, stage):
    """Ten publications of one loop turn are one write per connection, and bytes are shared between connections."""
    talks = [await stage.connected(f"user-{n}") for n in range(3)]
    for talk in talks:
        await talk.say({"id": 2, "subscribe": {"channel": "news:1"}})
    writes = [len(talk.socket.writes) for talk in talks]
    for n in range(10):
        await stage.manager.publish("default", "news:1", str(n).encode(), {})
    for talk in talks:
        await talk.settle()
    assert [len(talk.socket.writes) - before for talk, before in zip(talks, writes, strict=True)] == [1, 1, 1]
    assert [message["push"]["pub"]["data"] for message in talks[0].socket.messages()[-10:]] == list(range(10))

    await stage.manager.publish("default", "news:1", b'"shared"', {})
    for talk in talks:
        await talk.settle()
    assert talks[0].socket.writes[-1] is talks[1].socket.writes[-1]


async def test_defect_of_one_connection_does_not_silence_others(stage):
    """A connection whose write fails unexpectedly does not keep the rest of the turn's connections from their output."""
    broken, well = await stage.connected("ann"), await stage.connected("bob")
    for talk in (broken, well):
        await talk.say({"id": 2, "subscribe": {"channel": "news:1"}})
    heard = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context["exception"]))
    broken.socket.fault = OSError("as transports do")
    await stage.manager.publish("default", "news:1", b"1", {})
    await well.settle()
    assert heard == [broken.socket.fault]
    broken.socket.fault = None
    await stage.manager.publish("default", "news:1", b"2", {})
    await well.settle()
    assert [message["push"]["pub"]["data"] for message in well.socket.messages()[-2:]] == [1, 2]
