"""Channels to other processes: retries, turns over addresses, TLS."""

from pathlib import Path

import grpc
import pytest
from stylobate.api.actions.v1.module_service_pb2 import CallHookRequest, ListModulesRequest
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub
from stylobate.rpc import GrpcServer, TlsSettings, build_server, from_rpc_error, open_channel
from stylobate.rpc.channel import idempotent_methods

from .conftest import write_pki
from .probe import Probe, Users, Wire, servicers
from .test_service_rights import METHODS

READS = (
    "Get",
    "List",
    "CheckAccess",
    "CheckStates",
    "ExplainAccess",
    "ExportStates",
    "IntrospectToken",
    "ReadProgress",
    "ReadViews",
    "UpgradeStates",
    "VerifyApiKeys",
    "VerifyRecords",
)


async def _server(probe: Probe, address: str = "127.0.0.1:0", tls: TlsSettings | None = None) -> GrpcServer:
    server = build_server(servicers(probe, Users()), addresses=[address], tls=tls)
    await server.start()
    return server


async def test_reads_are_tried_again(tcp: Wire):
    """A read that nobody answered is sent again by the transport; the caller sees the answer."""
    tcp.probe.cut = 2
    assert await tcp.modules.ListModules(ListModulesRequest(), timeout=5)
    assert len(tcp.probe.requests) == 3


async def test_an_answer_is_never_asked_for_again(tcp: Wire):
    """UNAVAILABLE that the target says itself, with its cause, is what the caller gets: at once and once."""
    tcp.probe.failures = 2
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await tcp.modules.ListModules(ListModulesRequest(), timeout=5)
    assert from_rpc_error(caught.value).reason == "UNAVAILABLE"
    assert len(tcp.probe.requests) == 1


async def test_retries_have_a_budget(tcp: Wire):
    """A target that answers nothing any more is soon asked once for each call, and again more often once it answers."""

    async def sent(calls: int) -> int:
        before = len(tcp.probe.requests)
        for _ in range(calls):
            await tcp.modules.ListModules(ListModulesRequest(), timeout=5).code()
        return len(tcp.probe.requests) - before

    tcp.probe.cut = 1000
    assert await sent(20) < 2 * 20
    assert await sent(10) == 10
    tcp.probe.cut = 0
    assert await sent(120) == 120
    tcp.probe.cut = 1
    assert await sent(1) == 2


async def test_mutations_are_never_tried_again(tcp: Wire):
    """A method that is not named idempotent is sent once."""
    tcp.probe.cut = 1
    with pytest.raises(grpc.aio.AioRpcError):
        await tcp.modules.CallHook(CallHookRequest(hook="flaky"), timeout=5)
    assert len(tcp.probe.requests) == 1


def test_what_only_reads_says_so():
    """Of all contracts the methods named as reads, and no others, are tried again."""
    services = {method.rpartition("/")[0][1:] for method in METHODS}
    found = idempotent_methods(services)
    assert {f"/{name}" for name in found} == {name for name in METHODS if name.rpartition("/")[2].startswith(READS)}
    assert idempotent_methods(["stylobate.api.nothing.v1.NothingService"]) == []


async def test_calls_take_turns_over_the_addresses():
    """With several addresses each gets its share."""
    probes = [Probe(), Probe()]
    servers = [await _server(probe) for probe in probes]
    addresses = ",".join(f"127.0.0.1:{server.ports['127.0.0.1:0']}" for server in servers)
    async with open_channel(f"ipv4:{addresses}") as channel:
        stub = ModuleServiceStub(channel)
        for _ in range(40):
            await stub.ListModules(ListModulesRequest(), timeout=5, wait_for_ready=True)
    assert min(len(probe.requests) for probe in probes) >= 10
    for server in servers:
        await server.stop(0)


@pytest.mark.parametrize("client", ["without a certificate", "of another authority", "without encryption"])
async def test_mutual_tls_refuses_strangers(client: str, tls: TlsSettings, tmp_path: Path):
    """A client without a certificate of the authority, or without TLS at all, does not get through."""
    probe = Probe()
    server = await _server(probe, tls=tls)
    settings = {
        "without a certificate": TlsSettings(authority=tls.authority),
        "of another authority": write_pki(tmp_path),
        "without encryption": None,
    }[client]
    async with open_channel(f"127.0.0.1:{server.ports['127.0.0.1:0']}", tls=settings) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ModuleServiceStub(channel).CallHook(CallHookRequest(hook="echo"), timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not probe.requests
    await server.stop(0)


async def test_a_server_name_other_than_the_target(tls: TlsSettings):
    """The name in the certificate may be given where it differs from the target's; a wrong one is refused."""
    server = await _server(Probe(), tls=tls)
    for name, expected in (("localhost", grpc.StatusCode.OK), ("elsewhere", grpc.StatusCode.UNAVAILABLE)):
        named = TlsSettings(tls.authority, tls.certificate, tls.private_key, server_name=name)
        async with open_channel(f"127.0.0.1:{server.ports['127.0.0.1:0']}", tls=named) as channel:
            call = ModuleServiceStub(channel).CallHook(CallHookRequest(hook="echo"), timeout=5)
            assert await call.code() is expected
    await server.stop(0)
