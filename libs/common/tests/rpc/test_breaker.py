"""What a channel does when its target is gone, frozen, slow, or only renews its connections."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest
from structlog.testing import capture_logs
from stylobate.api.actions.v1.module_service_pb2 import CallHookRequest
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub
from stylobate.api.events.v1.event_service_pb2 import ReadEventsRequest
from stylobate.api.events.v1.event_service_pb2_grpc import EventServiceStub
from stylobate.errors import StylobateError, UnavailableError
from stylobate.resilience import CircuitBreaker
from stylobate.rpc import CallerChannel, TlsSettings, build_server, from_rpc_error, open_channel
from stylobate.testing.ports import free_ports
from stylobate.testing.until import until

from .conftest import write_pki
from .probe import Probe, Users, servicers

ECHO = CallHookRequest(hook="echo", event=b"there")
WITHIN_S = 30.0


class Replica:
    """A process that serves the probe, and can be frozen."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.address = f"127.0.0.1:{port}"

    def freeze(self) -> None:
        """Stop the process where it stands; its connections stay."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.process.pid, signal.SIGCONT)


@asynccontextmanager
async def replicas(count: int) -> AsyncIterator[list[Replica]]:
    """Run so many processes; on leaving, kill them."""
    script = Path(__file__).with_name("probe_process.py")
    made: list[Replica] = []
    try:
        for _ in range(count):
            process = await asyncio.create_subprocess_exec(sys.executable, str(script), stdout=asyncio.subprocess.PIPE)
            assert process.stdout is not None
            made.append(Replica(process, int(await asyncio.wait_for(process.stdout.readline(), WITHIN_S))))
        yield made
    finally:
        for replica in made:
            with suppress(ProcessLookupError):  # a test may have killed it
                replica.process.kill()
            await replica.process.wait()


WIRES = pytest.mark.parametrize("is_mux", [False, True], ids=["plain", "mux"])


async def connected(channel: grpc.aio.Channel, streams: int = 1, *, is_mux: bool) -> None:
    """Wait until calls are answered, by that many streams where they go by streams."""

    async def is_so() -> bool:
        return await outcome(channel) == "there" and (not is_mux or len(channel.inner._streams) == streams)

    await until(is_so)


async def outcome(channel: grpc.aio.Channel, timeout_s: float = 5) -> str:
    """Call once; return the answer, or the error's reason as a service would see it."""
    try:
        return (await ModuleServiceStub(channel).CallHook(ECHO, timeout=timeout_s)).data.decode()
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error).reason
    except StylobateError as error:
        return f"at once: {error.reason}"


async def test_the_circuit_opens_and_closes(tmp_path: Path):
    """While nobody listens calls soon fail at once without trying; when the target is back they work, without a call's help."""
    address = f"unix:{tmp_path}/gone.sock"
    breaker = CircuitBreaker("gone", failures=3, reset_after=timedelta(milliseconds=200))
    async with open_channel(address, breaker=breaker) as channel:
        assert [await outcome(channel) for _ in range(3)] == ["UNAVAILABLE"] * 3
        assert breaker.is_open
        with pytest.raises(UnavailableError) as refused:
            await ModuleServiceStub(channel).CallHook(ECHO)
        assert refused.value.retry_after == timedelta(seconds=1)
        probe = Probe()
        server = build_server(servicers(probe, Users()), addresses=[address])
        await server.start()
        await until(lambda: not breaker.is_open)
        assert not probe.requests  # no caller's request was spent on finding out
        assert await outcome(channel) == "there"
        await server.stop(0)


async def test_what_keeps_a_target_away_is_said(tls: TlsSettings, tmp_path: Path):
    """The log names the target and the cause: nobody there, or TLS that does not come about, whichever side is without it."""
    gone = f"127.0.0.1:{free_ports(1)}"
    server = build_server(servicers(Probe(), Users()), addresses=["127.0.0.1:0"], tls=tls)
    await server.start()
    there = f"127.0.0.1:{server.ports['127.0.0.1:0']}"
    nobody, stranger = TlsSettings(tls.authority), write_pki(tmp_path)
    ways = ((gone, None, "refused"), (there, None, "closed"), (there, nobody, "closed"), (there, stranger, "handshake"))
    for target, ours, said in ways:
        breaker = CircuitBreaker(target, failures=2, reset_after=timedelta(milliseconds=50))
        with capture_logs() as logged:
            async with open_channel(target, tls=ours, breaker=breaker) as channel:
                assert [await outcome(channel) for _ in range(2)] == ["UNAVAILABLE"] * 2
                await until(lambda logged=logged: [line for line in logged if line["event"] == "target_unreachable"])
        line = next(line for line in logged if line["event"] == "target_unreachable")
        assert line["target"] == target
        assert said in line["cause"].lower()
    await server.stop(0)


async def test_a_typed_error_is_an_answer(tmp_path: Path):
    """UNAVAILABLE that the target says itself does not open the circuit: it is there."""
    probe = Probe()
    address = f"unix:{tmp_path}/busy.sock"
    server = build_server(servicers(probe, Users()), addresses=[address])
    await server.start()
    breaker = CircuitBreaker("busy", failures=1)
    async with open_channel(address, breaker=breaker) as channel:
        probe.failures = 1
        with pytest.raises(grpc.aio.AioRpcError):
            await ModuleServiceStub(channel).CallHook(CallHookRequest(hook="flaky"), timeout=2)
    assert not breaker.is_open
    await server.stop(0)


@WIRES
async def test_connections_that_come_of_age_open_no_circuit(tmp_path: Path, *, is_mux: bool):
    """Streams that their server ends with their connection, many at a time and again and again, never refuse a call."""
    probe = Probe()
    address = f"unix:{tmp_path}/aging.sock"
    age = timedelta(milliseconds=200)
    server = build_server(servicers(probe, Users()), addresses=[address], max_connection_age=age, grace=age / 2, mux_port=0)
    await server.start()
    breaker = CircuitBreaker("aging")
    ended = Counter[str]()
    async with open_channel(address, breaker=breaker, mux=is_mux) as inner:
        channel = CallerChannel(inner, None)

        async def read(name: str) -> None:
            while True:
                with suppress(StylobateError):
                    async for _ in EventServiceStub(channel).ReadEvents(ReadEventsRequest(source="one_then_wait")):
                        pass
                ended[name] += 1

        readers = [asyncio.create_task(read(str(number))) for number in range(8)]
        answers = Counter[str]()
        async with asyncio.timeout(WITHIN_S):
            while len(ended) < len(readers) or min(ended.values()) < 5:
                answers[await outcome(inner)] += 1
                await asyncio.sleep(0.005)
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)
    assert set(answers) == {"there"}
    await server.stop(0)


async def test_a_slow_method_closes_the_way_to_no_other(tmp_path: Path):
    """Calls that run into their deadline while nothing else is answered are no reason to give up a target that is there."""
    probe = Probe()
    address = f"unix:{tmp_path}/slow.sock"
    server = build_server(servicers(probe, Users()), addresses=[address])
    await server.start()
    breaker = CircuitBreaker("slow", failures=1)
    async with open_channel(address, breaker=breaker) as channel:
        for _ in range(6):
            with pytest.raises(grpc.aio.AioRpcError):
                await ModuleServiceStub(channel).CallHook(CallHookRequest(hook="wait"), timeout=0.05)
            assert not breaker.is_open
        assert await outcome(channel) == "there"
    await server.stop(0)


async def test_who_shares_a_target_shares_its_circuit(tmp_path: Path):
    """What one service of a process found out of a target costs the others no try; each names whom it called."""
    breaker = CircuitBreaker("gone", failures=3)
    async with open_channel(f"unix:{tmp_path}/gone.sock", breaker=breaker) as inner:
        state, actions = CallerChannel(inner, None, service="auth"), CallerChannel(inner, None)
        for _ in range(3):
            with pytest.raises(UnavailableError):
                await ModuleServiceStub(state).CallHook(ECHO)
        assert breaker.is_open
        for channel, said in ((actions, {}), (state, {"service": "auth"})):
            with pytest.raises(UnavailableError) as refused:
                ModuleServiceStub(channel).CallHook(ECHO)
            assert refused.value.metadata == said
            with pytest.raises(UnavailableError):
                EventServiceStub(channel).ReadEvents(ReadEventsRequest(source="three"))


@WIRES
async def test_a_killed_target_ends_what_is_under_way(*, is_mux: bool):
    """A call and a stream of a process that dies are UNAVAILABLE at once, and say whose they were."""
    async with replicas(1) as (replica,), open_channel(replica.address, mux=is_mux) as inner:
        await connected(inner, is_mux=is_mux)
        channel = CallerChannel(inner, None, service="actions")
        messages = EventServiceStub(channel).ReadEvents(ReadEventsRequest(source="one_then_wait"))
        assert (await messages.read()).position == "0"
        call = ModuleServiceStub(channel).CallHook(CallHookRequest(hook="wait"), timeout=WITHIN_S)
        assert await outcome(inner) == "there"  # so the other one has come
        replica.process.kill()
        for ending in (call, messages.read()):
            with pytest.raises(UnavailableError) as gone:
                await ending
            assert gone.value.metadata == {"service": "actions"}


@WIRES
async def test_a_frozen_target_is_given_up_and_taken_back(*, is_mux: bool):
    """A process that accepts calls and answers none costs nobody anything after the first deadline, until it answers again."""
    async with replicas(1) as (replica,):
        breaker = CircuitBreaker("frozen", reset_after=timedelta(milliseconds=200))
        async with open_channel(replica.address, breaker=breaker, mux=is_mux) as channel:
            await connected(channel, is_mux=is_mux)
            replica.freeze()
            assert await outcome(channel, timeout_s=0.2) == "DEADLINE_EXCEEDED"
            await until(lambda: breaker.is_open)
            assert [await outcome(channel) for _ in range(100)] == ["at once: UNAVAILABLE"] * 100
            replica.thaw()
            await until(lambda: not breaker.is_open)
            assert await outcome(channel) == "there"


@WIRES
async def test_a_frozen_replica_is_left_out(*, is_mux: bool):
    """Of two replicas the frozen one gets no calls after a moment; the circuit of both together stays closed."""
    async with replicas(2) as (frozen, well):
        breaker = CircuitBreaker("two")
        async with open_channel(f"ipv4:{frozen.address},{well.address}", breaker=breaker, mux=is_mux) as channel:
            await connected(channel, streams=2, is_mux=is_mux)
            assert {await outcome(channel) for _ in range(20)} == {"there"}  # connected to both
            frozen.freeze()
            answers: list[str] = []
            async with asyncio.timeout(WITHIN_S):
                while answers[-40:] != ["there"] * 40:
                    calls = [asyncio.create_task(outcome(channel, timeout_s=2 if is_mux else 5)) for _ in range(4)]
                    answers += await asyncio.gather(*calls)
            assert Counter(answers)["at once: UNAVAILABLE"] == 0
            late = answers[4:] if is_mux else answers  # a stream leaves calls under way the whole of their time
            assert Counter(late)["DEADLINE_EXCEEDED"] == 0  # found out before a call's time is over
            assert not breaker.is_open
