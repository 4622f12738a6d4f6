"""What is counted of calls."""

import asyncio
import logging

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from stylobate.api.actions.v1.module_service_pb2 import CallHookRequest
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub, add_ModuleServiceServicer_to_server
from stylobate.rpc import LocalChannel, LocalServer, RpcAccess, Servicers, standard_interceptors
from stylobate.rpc.interceptors import RpcMetrics

from .probe import Probe, Services, Users

_NAME = "/stylobate.api.actions.v1.ModuleService/CallHook"


async def _served(metrics: RpcMetrics, probe: Probe) -> ModuleServiceStub:
    servicers = Servicers(standard_interceptors(Users(), Services(), metrics=metrics))
    access = {
        "ListModules": RpcAccess.PUBLIC,
        "CallHook": RpcAccess.PUBLIC,
        "UpgradeStates": RpcAccess.PUBLIC,
        "ForgetUser": RpcAccess.PUBLIC,
    }
    servicers.register(add_ModuleServiceServicer_to_server, probe, access)
    server = LocalServer(servicers)
    await server.start()
    return ModuleServiceStub(LocalChannel(server))


async def test_calls_are_counted_by_code_and_timed():
    """Every way that a call ends is counted under its own code, and the scrape shows counts and durations."""
    metrics, probe = RpcMetrics(), Probe()
    stub = await _served(metrics, probe)
    for hook in ("echo", "echo", "out_of_stock", "defect"):
        await stub.CallHook(CallHookRequest(hook=hook), timeout=5).code()
    await stub.CallHook(CallHookRequest(hook="wait"), timeout=0.02).code()
    call = stub.CallHook(CallHookRequest(hook="wait"), timeout=5)
    probe.begun.clear()
    await probe.begun.wait()
    call.cancel()
    await asyncio.sleep(0)
    counts = metrics.of(_NAME)
    expected = {"OK": 2, "FAILED_PRECONDITION": 1, "INTERNAL": 1, "DEADLINE_EXCEEDED": 1, "CANCELLED": 1}
    assert counts.codes == expected
    registry = CollectorRegistry()
    registry.register(metrics)
    text = generate_latest(registry).decode()
    assert f'stylobate_rpc_server_calls_total{{code="OK",method="{_NAME}"}} 2.0' in text
    assert f'stylobate_rpc_server_duration_seconds_count{{method="{_NAME}"}} 6.0' in text
    assert f'stylobate_rpc_server_duration_seconds_bucket{{le="+Inf",method="{_NAME}"}} 6.0' in text


async def test_sampled_calls_are_named_where_they_were_slow():
    """The bucket of a sampled call names its trace, in OpenMetrics; one that is not sampled leaves nothing."""
    metrics = RpcMetrics()
    stub = await _served(metrics, Probe())
    traces = {flag: f"00-{flag * 32}-{flag * 16}-0{flag}" for flag in "01"}
    for traceparent in traces.values():
        told = (("stylobate-service-token", Services().token()), ("traceparent", traceparent))
        await stub.CallHook(CallHookRequest(hook="echo"), timeout=5, metadata=told)
    registry = CollectorRegistry()
    registry.register(metrics)
    lines = openmetrics(registry).decode().splitlines()
    named = [line for line in lines if "trace_id" in line]
    assert len(named) == 1, named
    assert named[0].startswith("stylobate_rpc_server_duration_seconds_bucket")
    assert f'trace_id="{"1" * 32}"' in named[0]


async def test_the_access_line_is_written_at_debug_only(caplog: pytest.LogCaptureFixture):
    """With the access logger at debug a call leaves a line with method, code and request id; else nothing."""
    stub = await _served(RpcMetrics(), Probe())
    logger = logging.getLogger("stylobate.access")
    before = logger.level
    try:
        for level in (logging.INFO, logging.DEBUG):
            logger.setLevel(level)
            await stub.CallHook(CallHookRequest(hook="echo"), timeout=5, metadata=(("x-request-id", f"r-{level}"),))
    finally:
        logger.setLevel(before)
    lines = caplog.text
    assert f"r-{logging.DEBUG}" in lines
    assert f"r-{logging.INFO}" not in lines
