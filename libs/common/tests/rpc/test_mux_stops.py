"""What becomes of calls that share a stream when their server stops."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import grpc
import grpc.aio
import pytest
from stylobate.api.actions.v1.module_service_pb2 import CallHookRequest
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub
from stylobate.rpc import GrpcServer, TlsSettings, build_server, open_channel
from stylobate.rpc.mux import frames
from stylobate.testing.until import until

from .mux_ends import LOCAL, READS, Raw, served, soon, streams, under_load
from .probe import Probe, Users, servicers
from .test_breaker import outcome

WAIT = CallHookRequest(hook="wait")


async def test_a_stopping_server_loses_no_call():
    """Two servers under load, each stopped and replaced in turn at its address: every call is answered."""
    probes = [Probe() for _ in range(2)]
    options: dict[str, Any] = {"mux_port": 0, "reuse_port": True}
    servers = [build_server(servicers(probe, Users()), addresses=[LOCAL], **options) for probe in probes]
    for server in servers:
        await server.start()
    ports = [server.ports[LOCAL] for server in servers]
    target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    async with open_channel(target, mux=True, idempotent=READS) as channel:
        channel.inner.pick()
        await until(lambda: len(streams(channel)) == 2)
        async with under_load(channel) as answers:
            for turn in range(4):
                place = turn % 2
                await servers[place].stop(10)
                servers[place] = build_server(servicers(Probe(), Users()), addresses=[f"127.0.0.1:{ports[place]}"], **options)
                await servers[place].start()
                await until(lambda: len(streams(channel)) == 2)
    assert set(answers) == {"there"}
    for server in servers:
        await server.stop(0)


async def test_a_process_of_two_behind_a_port_hands_over(tls: TlsSettings):
    """Two servers share a port; each is stopped and replaced in turn: its clients' calls go to the other, and none fails."""
    options: dict[str, Any] = {"mux_port": 0, "reuse_port": True, "tls": tls}
    first = build_server(servicers(Probe(), Users()), addresses=[LOCAL], **options)
    address = f"127.0.0.1:{first.ports[LOCAL]}"

    def another() -> GrpcServer:
        return build_server(servicers(Probe(), Users()), addresses=[address], **options)

    servers = [first, another()]
    for server in servers:
        await server.start()
    async with AsyncExitStack() as open_ones:
        channels = [await open_ones.enter_async_context(open_channel(f"ipv4:{address}", tls=tls, mux=True)) for _ in range(3)]
        for channel in channels:
            channel.inner.pick()
        await until(lambda: all(len(streams(channel)) == 1 for channel in channels))
        async with AsyncExitStack() as loads:
            answers = [await loads.enter_async_context(under_load(channel)) for channel in channels]
            for turn in range(4):
                place = turn % 2
                await servers[place].stop(10)
                assert all(len(streams(channel)) == 1 for channel in channels)
                servers[place] = another()
                await servers[place].start()
    assert set().union(*answers) == {"there"}
    for server in servers:
        await server.stop(0)


async def test_a_stop_does_not_wait_for_who_stays():
    """A client that stays is told twice, that it should go and that it must, and is cut off after the grace."""
    async with served() as made, Raw.to(made.port) as raw:
        await until(lambda: sum(stream.is_open for stream in made.server.mux._streams) == 2)
        await soon(made.server.stop(0.2))
        assert await soon(raw.until_closed()) == [frames.NO_ERROR] * 2
        assert not made.server.mux._streams


async def test_a_stop_that_is_cancelled_ends_everything():
    """A second wish to stop does not leave a server behind that still serves."""
    async with served() as made:
        call = ModuleServiceStub(made.channel).CallHook(WAIT, timeout=60)
        await made.probe.begun.wait()
        stopping = asyncio.create_task(made.server.stop(60))
        await until(lambda: streams(made.channel) == () or streams(made.channel)[0].leaving.done())
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(stopping)
        assert await soon(call.code()) is grpc.StatusCode.UNAVAILABLE
        assert await soon(outcome(made.channel)) == "UNAVAILABLE"


async def test_a_server_alone_finishes_what_it_has_and_refuses_what_comes():
    """It serves until its client has found that there is nobody else. Then calls under way are answered, a new one refused."""
    async with served() as made:
        calls = [ModuleServiceStub(made.channel).CallHook(WAIT, timeout=60) for _ in range(5)]
        await until(lambda: len(made.probe.requests) == 5)
        stopping = asyncio.create_task(made.server.stop(60))
        assert await soon(outcome(made.channel)) == "there"
        await until(lambda: streams(made.channel) == ())
        said = "there"
        while said == "there":
            said = await soon(outcome(made.channel))
        assert said == "UNAVAILABLE"
        made.probe.release.set()
        assert [(await call).data for call in calls] == [b"waited"] * 5
        await soon(stopping)
