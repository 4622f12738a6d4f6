"""Calls on a stream whose other end says nothing for a while: it is busy, frozen, or cut off.

Times are those of a watch that looks fifty times a second: twenty-five times as often as it does.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from stylobate.api.actions.v1.module_service_pb2 import CallHookRequest, ListModulesRequest
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub
from stylobate.rpc import idempotent_methods, open_channel
from stylobate.testing.until import until

from .mux_ends import served, streams
from .test_breaker import ECHO, connected, outcome, replicas

READS = tuple(idempotent_methods(["stylobate.api.actions.v1.ModuleService"]))
READ = ListModulesRequest()


def hurried(channel: grpc.aio.Channel) -> list[Any]:
    """Return the channel's streams, which from now on look around more often."""
    for stream in streams(channel):
        stream.watch.look_s = 0.02
    return list(streams(channel))


async def test_a_busy_process_fails_no_call(tmp_path: Path):
    """Calls under way are answered when the server goes on, new ones go another way; one that never does is given up."""
    async with replicas(1) as (replica,), open_channel(replica.address, mux=True) as channel:
        stub = ModuleServiceStub(channel)

        async def stream_of() -> Any:
            await until(lambda: outcome(channel), lambda _: channel.inner.pick() is not None)
            return hurried(channel)[0]

        async def goes_on(stop: Callable[[], object], go_on: Callable[[], object]) -> None:
            stream = await stream_of()
            stop()
            calls = [stub.CallHook(ECHO, timeout=60) for _ in range(20)]
            await until(stream.leaving.done)
            assert len(stream.pending) >= 20
            assert channel.inner.pick() is None
            calls.append(stub.CallHook(ECHO, timeout=60))
            go_on()
            assert [(await call).data for call in calls] == [b"there"] * 21
            await until(lambda: stream not in streams(channel))  # another one has taken its place

        await goes_on(replica.freeze, replica.thaw)
        file = tmp_path / "go-on"
        block = CallHookRequest(hook="block", event=str(file).encode())
        await goes_on(lambda: stub.CallHook(block, timeout=60), file.touch)

        stream = await stream_of()  # who is held up itself does not take the other one for silent
        for _ in range(2):
            waiting = stub.CallHook(ECHO, timeout=60)
            await asyncio.sleep(0.05)
            time.sleep(0.7)  # noqa: ASYNC251  the whole loop is to stand still
            assert (await waiting).data == b"there"
        assert streams(channel) == (stream,)
        assert not stream.leaving.done()

        replica.freeze()
        calls = [stub.CallHook(ECHO, timeout=60) for _ in range(5)]
        assert set(await asyncio.gather(*(call.code() for call in calls))) == {grpc.StatusCode.UNAVAILABLE}
        assert stream.is_closing


async def test_a_read_of_a_frozen_server_is_answered_by_another():
    """What may be sent twice goes to the other replica as well; a write waits for the one that has it."""
    async with (
        replicas(2) as (frozen, well),
        open_channel(f"ipv4:{frozen.address},{well.address}", idempotent=READS, mux=True) as channel,
    ):
        await connected(channel, 2, is_mux=True)
        hurried(channel)
        frozen.freeze()
        stub = ModuleServiceStub(channel)
        writes = [stub.CallHook(ECHO, timeout=60) for _ in range(10)]
        reads = [stub.ListModules(READ, timeout=60) for _ in range(10)]
        assert len([await read for read in reads]) == 10
        await until(lambda: sum(write.done() for write in writes) == 5)
        frozen.thaw()
        assert [(await write).data for write in writes] == [b"there"] * 10
        await until(lambda: not any(stream.pending for stream in streams(channel)))


@asynccontextmanager
async def between(port: int) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """Pass octets on to a port, and swallow all that come by a connection made before the event; give our port and the event."""
    cut = asyncio.Event()

    async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        is_old = not cut.is_set()

        async def one_way(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while octets := await source.read(65_536):
                    if not (is_old and cut.is_set()):
                        sink.write(octets)
            sink.close()

        await asyncio.gather(one_way(reader, back), one_way(there, writer))

    server = await asyncio.start_server(passed, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], cut


async def test_a_connection_that_swallows_everything_is_replaced():
    """A cut that nobody tells of: a read under way is answered over the next connection, a write fails in the end."""
    async with served(idempotent=READS) as made, between(made.port) as (port, cut):
        made.server.mux.listener.port = port
        async with open_channel(made.target, mux=True, idempotent=READS) as channel:
            channel.inner.pick()
            await until(lambda: len(streams(channel)) == 1)
            (stream,) = hurried(channel)
            cut.set()
            stub = ModuleServiceStub(channel)
            write, read = stub.CallHook(ECHO, timeout=60), stub.ListModules(READ, timeout=60)
            assert await read is not None
            assert streams(channel) not in ((stream,), ())
            assert await outcome(channel) == "there"
            assert await write.code() is grpc.StatusCode.UNAVAILABLE
