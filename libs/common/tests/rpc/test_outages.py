"""What the log says of answers that nobody wants: who does not answer, and why."""

import logging
from pathlib import Path

import grpc
import pytest
from stylobate.api.actions.v1.module_service_pb2 import CallHookRequest, ListModulesRequest
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub
from stylobate.errors import DatabaseUnavailableError, DeadlineExceededError, StylobateError, UnavailableError
from stylobate.rpc import CallerChannel, open_channel
from stylobate.rpc.outages import Outages

from .probe import Wire


async def test_who_does_not_answer_is_named(tmp_path: Path):
    """Nobody there, an open circuit, no answer in time: the error names the service that was called."""
    async with open_channel(f"unix:{tmp_path}/gone.sock") as inner:
        stub = ModuleServiceStub(CallerChannel(inner, None, service="auth"))
        for _ in range(8):  # the last ones without being tried
            with pytest.raises(UnavailableError) as caught:
                await stub.ListModules(ListModulesRequest(), timeout=5)
            assert caught.value.metadata == {"service": "auth"}
            assert caught.value.detail == "The auth service does not answer at the moment."


async def test_who_is_too_slow_is_named(any_wire: Wire):
    """A deadline that passed names the service; what a service says itself stays its own words."""
    stub = ModuleServiceStub(CallerChannel(any_wire.channel, None, service="state"))
    with pytest.raises(DeadlineExceededError) as slow:
        await stub.CallHook(CallHookRequest(hook="wait"), timeout=0.05)
    assert slow.value.metadata == {"service": "state"}
    any_wire.probe.failures = 1
    with pytest.raises(StylobateError) as said:
        await stub.CallHook(CallHookRequest(hook="flaky"), timeout=5)
    assert (said.value.domain, said.value.metadata) == ("stylobate.actions", {})


async def test_an_outage_is_said_where_it_was_made(any_wire: Wire, caplog: pytest.LogCaptureFixture):
    """A server says once what it could not do, with the cause; how often it was comes with the next line."""
    any_wire.probe.failures = 50
    for _ in range(50):
        with pytest.raises(grpc.aio.AioRpcError):
            await any_wire.modules.CallHook(CallHookRequest(hook="flaky"), timeout=5)
    said = [line for record in caplog.records if "rpc_unavailable" in (line := record.getMessage())]
    assert len(said) == 1
    assert "ModuleService/CallHook" in said[0]


def test_each_kind_is_said_now_and_then(caplog: pytest.LogCaptureFixture):
    """By place, reason and who said it; after ten seconds again, with how often it was; other errors never."""
    now = 0.0
    outages = Outages("unavailable", clock=lambda: now)
    refused = DatabaseUnavailableError()
    refused.__cause__ = ConnectionRefusedError(111, "Connect call failed")
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            outages.note("/Get", refused, "r1")
            outages.note("/Put", refused, "r2")
            outages.note("/Get", UnavailableError(metadata={"service": "auth"}), "r3")
            outages.note("/Get", StylobateError(), "r4")
        now = 10.0
        outages.note("/Get", refused, "r5")
    text = [record.getMessage() for record in caplog.records]
    assert len(text) == 4
    assert "ConnectionRefusedError: [Errno 111] Connect call failed" in text[0]
    assert "20" in text[3]
