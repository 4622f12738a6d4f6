"""Real servers: health, reflection, addresses."""

import asyncio
import stat
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from stylobate.api.actions.v1.module_service_pb2 import CallHookRequest
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub
from stylobate.rpc import TlsSettings, build_server, open_channel

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
    first = build_server(servicers(Probe(), Users()), addresses=["127.0.0.1:0"])
    await first.start()
    address = f"127.0.0.1:{first.ports['127.0.0.1:0']}"
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
