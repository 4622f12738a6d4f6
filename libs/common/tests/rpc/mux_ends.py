"""Servers and clients of streams for tests: ours, gRPC's own, and one that sends whatever octets it likes."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import grpc.aio
import msgspec
from stylobate.rpc import GrpcServer, build_server, idempotent_methods, open_channel
from stylobate.rpc.mux import frames
from stylobate.rpc.mux.connection import STREAM
from stylobate.rpc.mux.items import EXCHANGE, FIND, Listener
from stylobate.testing.until import until

from .probe import Probe, Users, servicers
from .test_breaker import outcome

LOCAL = "127.0.0.1:0"
READS = tuple(idempotent_methods(["stylobate.api.actions.v1.ModuleService"]))
CALL_HOOK = "/stylobate.api.actions.v1.ModuleService/CallHook"
HEAD = ((":method", "POST"), (":scheme", "http"), (":path", EXCHANGE), (":authority", "x"), ("te", "trailers"))
GRPC_HEAD = (*HEAD, ("content-type", "application/grpc"))


async def listener_of(target: str) -> Listener:
    """Ask a plain port where streams are taken."""
    async with grpc.aio.insecure_channel(target) as channel:
        ask: Any = channel.unary_unary(FIND)
        return msgspec.msgpack.decode(await ask(b""), type=Listener)


def streams(channel: Any) -> tuple[Any, ...]:
    """Return the streams that a channel has open."""
    return channel.inner._streams  # type: ignore[no-any-return]


class Served:
    """A server with a probe, its target and a channel to it."""

    def __init__(self, probe: Probe, server: GrpcServer, target: str, channel: Any, port: int) -> None:
        self.probe, self.server, self.target, self.channel, self.port = probe, server, target, channel, port

    async def streamed(self, count: int = 1) -> None:
        """Wait until the channel has its streams."""
        self.channel.inner.pick()
        await until(lambda: len(streams(self.channel)) == count)


@asynccontextmanager
async def served(*, idempotent: tuple[str, ...] = (), **options: Any) -> AsyncIterator[Served]:
    """Serve a probe, with a channel that has its stream."""
    probe = Probe()
    server = build_server(servicers(probe, Users()), addresses=[LOCAL], mux_port=0, **options)
    await server.start()
    target = f"127.0.0.1:{server.ports[LOCAL]}"
    try:
        async with open_channel(target, mux=True, idempotent=idempotent) as channel:
            made = Served(probe, server, target, channel, (await listener_of(target)).port)
            await made.streamed()
            yield made
    finally:
        probe.release.set()
        await server.stop(0)


class Raw:
    """A client that sends what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    @asynccontextmanager
    async def to(
        cls, port: int, *, greet: bool = True, settings: tuple[tuple[int, int], ...] = (), host: str = "127.0.0.1"
    ) -> AsyncIterator[Self]:
        """Connect from a host; greeting means the preface, settings, and the call."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(host, 0))
        made = cls(reader, writer)
        try:
            if greet:
                made.send(frames.PREFACE + frames.settings_frame(*settings) + head_frame(GRPC_HEAD))
            yield made
        finally:
            writer.transport.abort()

    def send(self, data: bytes) -> None:
        """Send octets."""
        self.writer.write(data)

    def call(self, number: int, request: bytes = b"", *, timeout_us: int = 0, method: str = CALL_HOOK) -> None:
        """Send a call in a frame of its own."""
        self.send(data_frame(msgspec.msgpack.encode(([(number, method, [], timeout_us, request)],))))

    async def frames(self) -> AsyncIterator[tuple[int, int, int, bytes]]:
        """Yield (kind, flags, stream, payload) until the server closes."""
        try:
            while True:
                head = await self.reader.readexactly(frames.HEAD_BYTES)
                payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
                yield head[3], head[4], int.from_bytes(head[5:], "big"), payload
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    async def replies(self) -> AsyncIterator[list[Any]]:
        """Yield what comes of calls."""
        held = b""
        async for kind, _, _, payload in self.frames():
            if kind == frames.DATA:
                held += payload
                while len(held) >= 5 and len(held) >= 5 + int.from_bytes(held[1:5], "big"):
                    size = int.from_bytes(held[1:5], "big")
                    for reply in msgspec.msgpack.decode(held[5 : 5 + size]):
                        yield reply
                    held = held[5 + size :]

    async def until_closed(self) -> list[int]:
        """Read to the end; return the error codes that the server gave."""
        return [int.from_bytes(payload[4:8], "big") async for kind, _, _, payload in self.frames() if kind == frames.GOAWAY]


def head_frame(head: tuple[tuple[str, str], ...], stream: int = STREAM) -> bytes:
    """Return the frame of a head, by another encoder than ours."""
    block = b""
    for name, value in head:
        block += b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
    return frames.frame(frames.HEADERS, frames.END_HEADERS, stream, block)


def data_frame(message: bytes) -> bytes:
    """Return a message in a frame."""
    return frames.frame(frames.DATA, 0, STREAM, b"\0" + len(message).to_bytes(4, "big") + message)


async def load(channel: grpc.aio.Channel, answers: Counter[str], is_over: asyncio.Event, callers: int = 16) -> None:
    """Call without a pause from several callers, and count what comes of it."""

    async def caller() -> None:
        while not is_over.is_set():
            answers[await outcome(channel, timeout_s=30)] += 1

    await asyncio.gather(*(caller() for _ in range(callers)))


@asynccontextmanager
async def under_load(channel: grpc.aio.Channel) -> AsyncIterator[Counter[str]]:
    """Keep calling while the block runs; give what came of it."""
    answers, is_over = Counter[str](), asyncio.Event()
    calling = asyncio.create_task(load(channel, answers, is_over))
    try:
        yield answers
    finally:
        is_over.set()
        await calling


def soon(awaitable: Any) -> Any:
    """Wait for what must not take its deadline."""
    return asyncio.wait_for(awaitable, 60)
