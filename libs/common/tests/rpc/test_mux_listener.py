"""What the listener for streams takes from clients that are not ours: gRPC's own, broken ones, and ones that mean harm."""

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

import grpc
import grpc.aio
import msgspec
import pytest
from stylobate.api.actions.v1.module_service_pb2 import CallHookRequest, CallHookResponse
from stylobate.rpc.mux import frames
from stylobate.rpc.mux.connection import STREAM
from stylobate.rpc.mux.items import EXCHANGE
from stylobate.rpc.mux.server import MAX_STREAMS_PER_HOST
from stylobate.testing.until import until

from .mux_ends import CALL_HOOK, GRPC_HEAD, Raw, Served, data_frame, head_frame, served
from .test_breaker import outcome

ECHO = CallHookRequest(hook="echo", event=b"x").SerializeToString()
WAIT = CallHookRequest(hook="wait").SerializeToString()
_pack = msgspec.msgpack.encode


def open_streams(made: Served) -> int:
    """Return how many connections the server has, without the channel's."""
    return len(made.server.mux._streams) - 1


async def is_well(made: Served) -> None:
    """Check that others are served as before, and that nothing is left of who came."""
    assert await outcome(made.channel) == "there"
    assert made.channel.inner.pick() is not None
    await until(lambda: open_streams(made) == 0)
    await until(lambda: not made.server.mux.live)


# gRPC's own client


async def test_grpc_itself_may_call_by_a_stream():
    """A client of grpc.aio sends calls and reads replies; when it has sent all, and all is answered, the stream is OK."""
    async with served() as made, grpc.aio.insecure_channel(f"127.0.0.1:{made.port}") as channel:
        stream: Any = channel.stream_stream(EXCHANGE)()
        await stream.write(_pack(([(1, CALL_HOOK, ["x-request-id", "r"], 0, ECHO), (2, "/x.Y/Z", [], 0, b"")],)))
        await stream.write(_pack(([(3, CALL_HOOK, [], 0, b"\xff\xff")], [2])))
        await stream.done_writing()
        replies: dict[int, list[Any]] = {}
        async for message in stream:
            replies |= {reply[0]: reply for reply in msgspec.msgpack.decode(message)}
        assert CallHookResponse.FromString(replies[1][1]).data == b"x"
        assert [replies[2][2], replies[3][2]] == [12, 3]
        assert await stream.code() is grpc.StatusCode.OK
        await is_well(made)


async def test_any_other_method_is_unimplemented():
    """What is a plain call belongs to the plain port."""
    async with served() as made, grpc.aio.insecure_channel(f"127.0.0.1:{made.port}") as channel:
        call: Any = channel.unary_unary(CALL_HOOK)(ECHO, timeout=10)
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
        await is_well(made)


async def test_a_connection_has_one_stream():
    """A second one is refused, and the first goes on."""
    async with served() as made, Raw.to(made.port) as raw:
        raw.send(head_frame(GRPC_HEAD, stream=3))
        refused = [stream async for kind, _, stream, _ in first(raw, frames.RST_STREAM)]
        assert refused == [3]
        raw.call(1, ECHO)
        async for reply in raw.replies():
            assert reply[0] == 1
            break


async def first(raw: Raw, wanted: int) -> Any:
    """Yield the first frame of a kind."""
    async for found in raw.frames():
        if found[0] == wanted:
            yield found
            return


# broken clients

GREETING = frames.PREFACE + frames.settings_frame() + head_frame(GRPC_HEAD)
BROKEN: dict[str, bytes] = {
    "no preface": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "no call": frames.PREFACE + frames.settings_frame() + frames.frame(frames.DATA, 0, STREAM, b"x"),
    "no method": frames.PREFACE + head_frame(()),
    "a message that is none": GREETING + data_frame(b"\xc1"),
    "half a pair of metadata": GREETING + data_frame(_pack(([(1, CALL_HOOK, ["key"], 0, ECHO)],))),
    "an id twice": GREETING + data_frame(_pack(([(1, CALL_HOOK, [], 0, WAIT)] * 2,))),
    "a number for a method": GREETING + data_frame(_pack(([(1, 2, [], 0, ECHO)],))),
    "a time before now": GREETING + data_frame(_pack(([(1, CALL_HOOK, [], -1, ECHO)],))),
    "an id over 64 bits": GREETING + data_frame(b"\x92\x91\x95\xcf" + b"\xff" * 7),
    "a message over what is taken": GREETING + frames.frame(frames.DATA, 0, STREAM, b"\0\0\x10\0\0"),
    "a reset": GREETING + frames.frame(frames.RST_STREAM, 0, STREAM, bytes(4)),
}


async def test_what_is_broken_is_cut_off():
    """Whatever it is, the connection ends, and others are served as before."""
    async with served() as made:
        for name, octets in BROKEN.items():
            async with Raw.to(made.port, greet=False) as raw:
                raw.send(octets)
                async with asyncio.timeout(30):
                    await raw.until_closed()
            assert await outcome(made.channel) == "there", name
        await is_well(made)


async def test_random_frames_harm_nobody():
    """Connections send frames at random, whole or cut off, well begun or not: others are answered meanwhile and afterwards."""
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    async with served() as made:
        for _ in range(150):
            async with Raw.to(made.port, greet=dice.random() < 0.8) as raw:
                for _ in range(dice.randrange(1, 30)):
                    raw.send(junk(dice))
                if dice.random() < 0.5:
                    raw.writer.write_eof()
                    async with asyncio.timeout(30):
                        await raw.until_closed()
            assert await outcome(made.channel) == "there", seed
        await is_well(made)


def junk(dice: random.Random) -> bytes:
    """Return a frame that may be one, or a piece of it."""
    kind = dice.choice([*range(11), frames.DATA, frames.WINDOW_UPDATE])
    stream, flags = dice.choice([0, 1, 1, 1, 3, 2**31 - 1]), dice.choice([0, 1, 4, 5, 8, 255])
    payload = dice.choice(
        [
            dice.randbytes(dice.randrange(40)),
            dice.randbytes(4),
            dice.randbytes(8),
            data_frame(_pack(([(dice.randrange(9), CALL_HOOK, [], dice.randrange(10**6), ECHO)],)))[frames.HEAD_BYTES :],
            data_frame(_pack([[], [dice.randrange(9)]]))[frames.HEAD_BYTES :],
        ]
    )
    found = frames.frame(kind, flags, stream, payload)
    return found[: dice.randrange(len(found))] if dice.random() < 0.1 else found


# floods

FLOODS: dict[str, Callable[[int], bytes]] = {
    "pings": lambda n: frames.frame(frames.PING, 0, 0, n.to_bytes(8, "big")),
    "settings": lambda n: frames.settings_frame((frames.INITIAL_WINDOW_SIZE, n % 60_000)),
    "window updates": lambda _: frames.window_frame(0, 1),
    "empty data": lambda _: frames.frame(frames.DATA, 0, STREAM),
    "resets of streams that are refused": lambda n: head_frame(GRPC_HEAD, stream=2 * n + 3),
    "pings between messages": lambda n: frames.frame(frames.PING, 0, 0, n.to_bytes(8, "big")) * 500 + data_frame(b"\x90"),
    "calls of no method": lambda n: data_frame(_pack(([(n, "/x.Y/Z", [], 0, b"")],))),
    "answers that it does not take": lambda n: data_frame(_pack(([(n, CALL_HOOK, [], 0, ECHO)],))),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_is_dammed(name: str):
    """Of a client that sends without end and reads nothing, some octets are taken and then no more; little is kept of it."""
    async with served() as made, Raw.to(made.port) as raw:
        raw.writer.transport.pause_reading()
        raw.writer.transport.set_write_buffer_limits(1 << 16)
        taken = 0

        async def flood() -> None:
            nonlocal taken
            for number in count():
                octets = FLOODS[name](number)
                raw.send(octets)
                await (raw.writer.drain() if number % 1000 else asyncio.sleep(0))
                taken += len(octets)
                assert taken < 64 * 2**20

        flooding = asyncio.create_task(flood())
        seen = -1

        def is_dammed() -> bool:
            nonlocal seen
            before, seen = seen, taken
            return flooding.done() or before == taken

        await until(is_dammed_for(is_dammed, made))
        flooding.cancel()
        await asyncio.wait([flooding])
        assert flooding.cancelled() or isinstance(flooding.exception(), ConnectionError)
        for stream in made.server.mux._streams:
            kept = stream.unsent + stream._waiting_bytes + stream.transport.get_write_buffer_size()
            assert kept < 8 * 2**20
            assert len(stream._replies) < 100_000
        assert await outcome(made.channel) == "there"


def is_dammed_for(ask: Callable[[], bool], made: Served) -> Callable[[], Any]:
    """Return what asks whether nothing more was taken while a hundred calls of somebody else were answered."""

    async def asked() -> bool:
        if not ask():
            return False
        for _ in range(100):
            assert await outcome(made.channel) == "there"
        return ask()

    return asked


async def test_a_closed_window_holds_up_its_own_client_only():
    """A client that lets nothing be sent gets nothing; its calls have their bound; once it lets, it gets all of it."""
    async with served(max_streams=20) as made, Raw.to(made.port, settings=((frames.INITIAL_WINDOW_SIZE, 0),)) as raw:
        for number in range(40):
            raw.call(number, ECHO)
        assert await outcome(made.channel) == "there"
        raw.send(frames.window_frame(STREAM, 100_000))
        got = set()
        async for reply in raw.replies():
            got.add(reply[0])
            if len(got) == 40:
                break


async def test_a_client_has_so_many_calls_under_way():
    """More are refused as a full server refuses them, and are accepted again when some have ended."""
    async with served(max_streams=5) as made, Raw.to(made.port) as raw:
        for number in range(8):
            raw.call(number, WAIT)
        refused = []
        async for reply in raw.replies():
            refused.append(reply)
            if len(refused) == 3:
                break
        assert {(reply[2], reply[3]) for reply in refused} == {(8, "Concurrent RPC limit exceeded!")}
        raw.send(data_frame(_pack(([], [0]))))
        raw.call(9, ECHO)
        async for reply in raw.replies():
            assert reply[0] == 9
            assert len(reply) == 2
            break


async def test_a_host_has_so_many_connections():
    """More are cut off, while another host still gets in; as some close, there is room again."""
    async with served() as made, AsyncExitStack() as opened:

        async def connect(host: str) -> Raw:
            return await opened.enter_async_context(Raw.to(made.port, host=host))

        many = [await connect("127.0.0.1") for _ in range(MAX_STREAMS_PER_HOST - 1)]
        await until(lambda: open_streams(made) == len(many))
        assert await (await connect("127.0.0.1")).until_closed() == []
        other = await connect("127.0.0.2")
        await until(lambda: open_streams(made) == len(many) + 1)
        other.call(1, ECHO)
        assert (await anext(other.replies()))[0] == 1
        many[0].writer.close()
        await until(lambda: open_streams(made) == len(many))
        again = await connect("127.0.0.1")
        again.call(1, ECHO)
        assert (await anext(again.replies()))[0] == 1


async def test_who_does_not_greet_is_not_kept():
    """A connection that says nothing, or not all of it, ends by itself."""
    async with served() as made:
        assert made.server.mux.greet_s == 10
        made.server.mux.greet_s = 0.2
        for octets in (b"", frames.PREFACE[:5], frames.PREFACE, frames.PREFACE + frames.settings_frame()):
            async with Raw.to(made.port, greet=False) as raw, asyncio.timeout(30):
                raw.send(octets)
                await raw.until_closed()
        await is_well(made)
