"""Real servers: health, reflection, addresses."""

import asyncio
import stat
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from stylobate.api.actions.v1.module_service_pb2 import CallHookRequest
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub
from stylobate.api.events.v1.event_service_pb2 import ReadEventsRequest
from stylobate.api.events.v1.event_service_pb2_grpc import EventServiceStub
from stylobate.rpc import TlsSettings, build_server, open_channel
from stylobate.testing.ports import free_ports

from .probe import Probe, Users, servicers

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_health_follows_the_server(tmp_path: Path):
    """The health service knows each service, says what it is told, and that the server is going while it drains."""
    probe = Probe()
    address = f"unix:{tmp_path}/x.sock"
    server = build_server(servicers(probe, Users()), addresses=[address])
    await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == _NOT_SERVING  # nobody said that it is ready
        await server.set_serving(is_serving=True)
        for service in ("", "stylobate.api.actions.v1.ModuleService"):
            assert (await health.Check(health_pb2.HealthCheckRequest(service=service))).status == _SERVING
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == _SERVING
        await server.set_serving(is_serving=False)
        assert (await watch.read()).status == _NOT_SERVING
        await server.set_serving(is_serving=True)
        assert (await watch.read()).status == _SERVING
        call = ModuleServiceStub(channel).CallHook(CallHookRequest(hook="wait"), timeout=5)
        await probe.begun.wait()
        stopping = asyncio.create_task(server.stop(5))
        assert (await watch.read()).status == _NOT_SERVING
        watch.cancel()
        probe.release.set()
        assert (await call).data == b"waited"
        await stopping


async def test_a_call_without_its_request_does_not_hold_up_a_stop(tmp_path: Path):
    """Who began a call and sends nothing is not waited for; a handler that runs is."""
    probe = Probe()
    address = f"unix:{tmp_path}/x.sock"
    server = build_server(servicers(probe, Users()), addresses=[address])
    await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        call = ModuleServiceStub(channel).CallHook(CallHookRequest(hook="wait"), timeout=60)
        await probe.begun.wait()
        begun = channel.stream_unary("/stylobate.api.actions.v1.ModuleService/CallHook")()
        await begun.wait_for_connection()
        stopping = asyncio.create_task(server.stop(60))
        probe.release.set()
        assert (await call).data == b"waited"
        await asyncio.wait_for(stopping, 30)
        assert await begun.code() is not grpc.StatusCode.OK


@pytest.mark.parametrize(("method", "hangs"), [("CallHook", "wait"), ("CallHook", "stubborn"), ("ReadEvents", "deaf")])
@pytest.mark.parametrize("service", ["state", ""])
async def test_what_is_cut_off_is_said(tmp_path: Path, method: str, hangs: str, service: str):
    """A call that outlives the grace is logged with its method and the service that sent it, and counted; others are not."""
    probe = Probe()
    address = f"unix:{tmp_path}/x.sock"
    server = build_server(servicers(probe, Users()), addresses=[address])
    await server.start()
    metadata = (("stylobate-service-token", f"service:{service}"),) if service else ()
    async with grpc.aio.insecure_channel(address) as channel:
        modules, events = ModuleServiceStub(channel), EventServiceStub(channel)
        await modules.CallHook(CallHookRequest(hook="echo"), timeout=5)
        probe.begun.clear()
        if method == "CallHook":
            call = modules.CallHook(CallHookRequest(hook=hangs), metadata=metadata)
        else:
            call = events.ReadEvents(ReadEventsRequest(source=hangs), metadata=metadata)
        name = f"/stylobate.api.{'actions.v1.ModuleService' if method == 'CallHook' else 'events.v1.EventService'}/{method}"
        before = cut_off(name)
        await probe.begun.wait()
        with capture_logs() as logged:
            await server.stop(0.05)
        assert await call.code() is not grpc.StatusCode.OK
    probe.release.set()
    said = [(line["event"], line["method"], line["service"], line["log_level"]) for line in logged]
    assert said == [("rpc_cut_off", name, service, "warning")]
    assert cut_off(name) == before + 1


async def test_nothing_is_said_of_calls_that_end_in_time(tmp_path: Path):
    """A call that ends within the grace is answered, and a stream that the server ends is not a loss either."""
    probe = Probe()
    address = f"unix:{tmp_path}/x.sock"
    server = build_server(servicers(probe, Users()), addresses=[address])
    await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        stream = EventServiceStub(channel).ReadEvents(ReadEventsRequest(source="one_then_wait"))
        await stream.read()
        probe.begun.clear()
        call = ModuleServiceStub(channel).CallHook(CallHookRequest(hook="wait"))
        await probe.begun.wait()
        with capture_logs() as logged:
            stopping = asyncio.create_task(server.stop(30))
            assert await stream.code() is grpc.StatusCode.UNAVAILABLE
            probe.release.set()
            assert (await call).data == b"waited"
            await stopping
    assert logged == []


async def test_a_stream_that_comes_while_the_server_stops_is_ended_too(tmp_path: Path):
    """A call may be on its way in when the streams are ended: nobody would end it otherwise."""
    address = f"unix:{tmp_path}/x.sock"
    server = build_server(servicers(Probe(), Users()), addresses=[address])
    await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        stub = EventServiceStub(channel)

        async def listen() -> grpc.StatusCode:
            try:
                async for _ in stub.ReadEvents(ReadEventsRequest(source="one_then_wait"), timeout=20):
                    pass
            except grpc.aio.AioRpcError as error:
                return error.code()
            return grpc.StatusCode.OK

        with capture_logs() as logged:
            listening = []
            for _ in range(100):  # some of them on their way
                listening.append(asyncio.create_task(listen()))
                await asyncio.sleep(0)
            await server.stop(3)
            codes = set(await asyncio.gather(*listening))
        assert codes <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert logged == []


def cut_off(method: str) -> float:
    """Return how many calls of the method were cut off in this process."""
    return REGISTRY.get_sample_value("stylobate_rpc_cut_off_total", {"method": method}) or 0.0


@pytest.mark.parametrize("is_on", [True, False])
async def test_reflection_only_when_on(tmp_path: Path, is_on: bool):
    """The contracts are told where reflection is on, and nowhere else."""
    address = f"unix:{tmp_path}/x.sock"
    server = build_server(servicers(Probe(), Users()), addresses=[address], reflection=is_on)
    await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        ask = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        call = ask(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        if is_on:
            names = {service.name for service in (await call.read()).list_services_response.service}
            assert {"stylobate.api.actions.v1.ModuleService", "grpc.health.v1.Health"} <= names
            call.cancel()
        else:
            assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
    await server.stop(0)


async def test_several_addresses_at_once(tmp_path: Path, tls: TlsSettings):
    """One server answers on TCP with TLS and on a unix socket, which needs none."""
    path = f"unix:{tmp_path}/x.sock"
    server = build_server(servicers(Probe(), Users()), addresses=["127.0.0.1:0", path], tls=tls)
    await server.start()
    assert stat.S_IMODE((tmp_path / "x.sock").stat().st_mode) == 0o600
    for target, settings in ((f"127.0.0.1:{server.ports['127.0.0.1:0']}", tls), (path, None)):
        async with open_channel(target, tls=settings) as channel:
            assert await ModuleServiceStub(channel).CallHook(CallHookRequest(hook="echo"), timeout=5)
    await server.stop(0)


async def test_a_taken_address_is_refused():
    """A port in use raises at once, naming it; workers may share one when they say so."""
    address = f"127.0.0.1:{free_ports(1)}"
    first = build_server(servicers(Probe(), Users()), addresses=[address])
    await first.start()
    with pytest.raises(RuntimeError, match=address):
        build_server(servicers(Probe(), Users()), addresses=[address])
    await first.stop(0)
    shared = [build_server(servicers(Probe(), Users()), addresses=[address], reuse_port=True) for _ in range(2)]
    for server in shared:
        await server.start()
    for server in shared:
        await server.stop(0)


async def test_a_server_without_a_key_is_refused(tls: TlsSettings):
    """TLS settings of a client do not make a server."""
    with pytest.raises(ValueError, match="certificate"):
        build_server(servicers(Probe(), Users()), addresses=["127.0.0.1:0"], tls=TlsSettings(authority=tls.authority))
