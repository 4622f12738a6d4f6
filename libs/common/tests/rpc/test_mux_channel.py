"""Calls that share a stream: what happens to them when streams age, break, fill up, or are not there at all."""

import asyncio
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest
from stylobate.api.actions.v1.module_service_pb2 import CallHookRequest, ListModulesRequest
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub
from stylobate.resilience import CircuitBreaker
from stylobate.rpc import build_server, open_channel
from stylobate.rpc.mux.items import MAX_REQUEST_BYTES
from stylobate.testing.until import until

from .mux_ends import LOCAL, READS, served, soon, streams, under_load
from .probe import Probe, Users, servicers
from .test_breaker import ECHO, outcome, replicas

WAIT = CallHookRequest(hook="wait")


async def test_streams_are_replaced_without_a_failed_call():
    """Connections age every fifth of a second; calls go on, and each new stream is there before the old one ends."""
    async with served(max_connection_age=timedelta(seconds=0.2)) as made, under_load(made.channel) as answers:
        seen = set()
        while len(seen) < 8:
            seen |= set(streams(made.channel))
            assert streams(made.channel)  # never without one
            await asyncio.sleep(0.005)
    assert set(answers) == {"there"}
    assert answers["there"] > 100


async def test_a_call_outlives_its_stream_by_the_grace():
    """A call under way when its connection has come of age is answered, on the old one, while others go by the new one."""
    age = timedelta(seconds=0.2)
    async with served(max_connection_age=age, grace=timedelta(seconds=30)) as made:
        (old,) = streams(made.channel)
        call = ModuleServiceStub(made.channel).CallHook(WAIT, timeout=60)
        await made.probe.begun.wait()
        await until(lambda: streams(made.channel) not in ((old,), ()))
        assert len(old.pending) == 1
        assert await outcome(made.channel) == "there"
        made.probe.release.set()
        assert (await call).data == b"waited"
        await soon(old.over)


async def test_a_call_longer_than_the_grace_is_cut_off():
    """As plain gRPC cuts it off: UNAVAILABLE, and its handler is cancelled."""
    age = timedelta(seconds=0.1)
    async with served(max_connection_age=age, grace=age) as made:
        call = ModuleServiceStub(made.channel).CallHook(WAIT, timeout=60)
        assert await soon(call.code()) is grpc.StatusCode.UNAVAILABLE
        await soon(made.probe.cancelled.wait())


async def test_a_broken_stream_fails_its_calls_at_once_and_is_made_anew():
    """Every call under way is UNAVAILABLE; later ones are answered; the handlers of those that were cut are cancelled."""
    async with served() as made:
        (stream,) = streams(made.channel)
        calls = [ModuleServiceStub(made.channel).CallHook(WAIT, timeout=60) for _ in range(20)]
        await made.probe.begun.wait()
        stream.transport.abort()
        codes = await soon(asyncio.gather(*(call.code() for call in calls)))
        assert set(codes) == {grpc.StatusCode.UNAVAILABLE}
        await soon(made.probe.cancelled.wait())
        assert await outcome(made.channel) == "there"
        await made.streamed()
        assert streams(made.channel) != (stream,)


async def test_reads_under_way_on_a_broken_stream_are_sent_again():
    """Those that may be sent twice are, by plain gRPC; others are not."""
    async with served(idempotent=READS) as made:
        (stream,) = streams(made.channel)
        stub = ModuleServiceStub(made.channel)
        sent, unsent = stub.CallHook(WAIT, timeout=60), stub.ListModules(ListModulesRequest(), timeout=60)
        await made.probe.begun.wait()
        await unsent
        made.probe.cut = 2
        assert await stub.ListModules(ListModulesRequest(), timeout=60) is not None
        assert len(made.probe.requests) == 5
        stream.transport.abort()
        assert await soon(sent.code()) is grpc.StatusCode.UNAVAILABLE


async def test_what_was_not_sent_yet_goes_another_way():
    """A call that waits for its turn when the stream breaks cannot have happened: it goes by plain gRPC, whatever it is."""
    async with served() as made:
        (stream,) = streams(made.channel)
        sent = ModuleServiceStub(made.channel).CallHook(WAIT, timeout=60)
        await made.probe.begun.wait()
        call = ModuleServiceStub(made.channel).CallHook(ECHO, timeout=60)
        stream.close()  # in the same turn
        assert (await call).data == b"there"
        assert await soon(sent.code()) is grpc.StatusCode.UNAVAILABLE
        assert len(made.probe.requests) == 2


async def test_calls_without_an_answer_feed_the_breaker():
    """A target that is gone is known as such after a few calls, over streams as over plain gRPC."""
    async with replicas(1) as (replica,):
        breaker = CircuitBreaker("gone")
        async with open_channel(replica.address, breaker=breaker, mux=True) as channel:
            await until(lambda: outcome(channel), lambda found: found == "there" and len(streams(channel)) == 1)
            calls = [ModuleServiceStub(channel).CallHook(WAIT, timeout=60) for _ in range(10)]
            await asyncio.sleep(0)  # they are sent at the end of the turn
            replica.process.kill()
            for call in calls:
                with pytest.raises(grpc.aio.AioRpcError):
                    await call
            assert breaker.is_open


async def test_every_address_has_a_stream_and_the_idle_one_gets_the_call():
    """With several addresses each gets its share, and one whose calls are stuck gets no more than its share of them."""
    async with served() as one, served() as other, open_channel(f"ipv4:{one.target},{other.target}", mux=True) as channel:
        channel.inner.pick()
        await until(lambda: len(streams(channel)) == 2)
        for _ in range(20):
            assert await outcome(channel) == "there"
        assert [len(one.probe.requests), len(other.probe.requests)] == [10, 10]
        stuck = [ModuleServiceStub(channel).CallHook(WAIT, timeout=60) for _ in range(2)]
        await asyncio.gather(one.probe.begun.wait(), other.probe.begun.wait())
        one.probe.release.set()
        await asyncio.wait([asyncio.ensure_future(call.code()) for call in stuck], return_when=asyncio.FIRST_COMPLETED)
        before = len(one.probe.requests)
        for _ in range(10):
            await outcome(channel)
        assert len(one.probe.requests) == before + 10
        other.probe.release.set()
        await asyncio.gather(*stuck)


async def test_an_older_server_is_called_by_plain_grpc():
    """One that takes no streams is served as ever, and gets its share where another does."""
    old, new = Probe(), Probe()
    servers = [
        build_server(servicers(old, Users()), addresses=[LOCAL]),
        build_server(servicers(new, Users()), addresses=[LOCAL], mux_port=0),
    ]
    for server in servers:
        await server.start()
    targets = [f"127.0.0.1:{server.ports[LOCAL]}" for server in servers]
    async with open_channel(targets[0], mux=True) as channel:
        assert {await outcome(channel) for _ in range(20)} == {"there"}
        await until(lambda: channel.inner._plain_ones == 1)
        assert {await outcome(channel) for _ in range(20)} == {"there"}
    old.requests.clear()
    async with open_channel(f"ipv4:{','.join(targets)}", mux=True) as channel:
        channel.inner.pick()
        await until(lambda: len(streams(channel)) == 1 and channel.inner._plain_ones == 1)
        await until(lambda: outcome(channel), lambda _: old.requests)  # plain gRPC has connected to both
        old.requests.clear()
        new.requests.clear()
        await asyncio.gather(*(outcome(channel, 60) for _ in range(200)))
        assert min(len(old.requests), len(new.requests)) >= 40
        assert len(old.requests) + len(new.requests) == 200
        assert channel.inner._plain_calls == 0
    for server in servers:
        await server.stop(0)


async def test_a_listener_that_is_not_reached_is_done_without(tmp_path: Path):
    """Where something keeps clients from the port that they were told, calls go by plain gRPC."""
    async with served() as made:
        for listening in made.server.mux._listening:
            listening.close()
        async with open_channel(made.target, mux=True) as channel:
            channel.inner.pick()
            await until(lambda: channel.inner._plain_ones == 1)
            assert {await outcome(channel) for _ in range(20)} == {"there"}
            assert streams(channel) == ()


async def test_a_large_answer_holds_up_nobody():
    """Answers of 10 MiB go in parts; small ones asked for at the same time are there before them."""
    async with served() as made:
        stub, done = ModuleServiceStub(made.channel), []
        large = CallHookRequest(hook="large")

        async def ask(request: CallHookRequest, name: str) -> None:
            assert len((await stub.CallHook(request, timeout=60)).data) in {5, 10 * 2**20}
            done.append(name)

        first = [asyncio.create_task(ask(large, "large")) for _ in range(3)]
        await made.probe.begun.wait()
        await asyncio.gather(*(ask(ECHO, "small") for _ in range(20)))
        await asyncio.gather(*first)
        assert done == ["small"] * 20 + ["large"] * 3


async def test_a_large_request_goes_by_plain_grpc():
    """So that it holds up nothing on the stream; metadata counts."""
    async with served() as made:
        (stream,) = streams(made.channel)
        sent = stream._last_id
        stub = ModuleServiceStub(made.channel)
        assert len((await stub.CallHook(CallHookRequest(hook="echo", event=bytes(MAX_REQUEST_BYTES)), timeout=60)).data) > 10
        half = CallHookRequest(hook="echo", event=bytes(MAX_REQUEST_BYTES // 2))
        assert await stub.CallHook(half, timeout=60, metadata=(("a", "x" * (MAX_REQUEST_BYTES // 2)),))
        assert stream._last_id == sent
        assert await stub.CallHook(ECHO, timeout=60, metadata=(("a", "x" * 30_000),))
        assert stream._last_id == sent + 1


async def test_calls_beyond_those_a_stream_takes_go_by_plain_grpc():
    """They are served, and not refused."""
    async with served(max_streams=4) as made:
        calls = [ModuleServiceStub(made.channel).CallHook(WAIT, timeout=60) for _ in range(8)]
        await until(lambda: len(made.probe.requests) == 8)
        assert len(streams(made.channel)[0].pending) == 4
        made.probe.release.set()
        assert [(await call).data for call in calls] == [b"waited"] * 8


async def test_a_late_answer_is_passed_over():
    """What comes after the deadline, or after the caller went, meets nobody; its id is not used again."""
    async with served() as made:
        stub = ModuleServiceStub(made.channel)
        late = stub.CallHook(CallHookRequest(hook="stubborn"), timeout=0.1)
        assert await late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await soon(made.probe.cancelled.wait())
        (stream,) = streams(made.channel)
        assert not stream.pending
        made.probe.release.set()
        await soon(made.probe.ended.wait())
        assert [await outcome(made.channel) for _ in range(5)] == ["there"] * 5


async def test_a_channel_that_closes_gives_its_calls_their_time():
    """Calls under way are answered within the grace, and what is left after it is over."""
    async with served() as made:
        async with open_channel(made.target, mux=True) as channel:
            channel.inner.pick()
            await until(lambda: len(streams(channel)) == 1)
            call = ModuleServiceStub(channel).CallHook(WAIT, timeout=60)
            await made.probe.begun.wait()
            closing = asyncio.create_task(channel.close(30))
            await asyncio.sleep(0)
            made.probe.release.set()
            assert (await call).data == b"waited"
            await soon(closing)
        async with open_channel(made.target, mux=True) as channel:
            channel.inner.pick()
            await until(lambda: len(streams(channel)) == 1)
            made.probe.release.clear()
            call = ModuleServiceStub(channel).CallHook(WAIT, timeout=60)
            await until(lambda: len(streams(channel)[0].pending) == 1)
        assert await soon(call.code()) is grpc.StatusCode.UNAVAILABLE
