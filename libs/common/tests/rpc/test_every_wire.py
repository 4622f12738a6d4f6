"""Shared tables, over every wire: who calls, how a call ends, what is counted of it."""

from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from stylobate.api.actions.v1.module_service_pb2 import CallHookRequest, ListModulesRequest
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub
from stylobate.api.events.v1.event_service_pb2 import ReadEventsRequest
from stylobate.errors import StylobateError, http_status_of
from stylobate.rpc import CallerChannel, RpcAccess, TlsSettings, from_rpc_error
from stylobate.rpc.caller import ServiceTokenRefusedError
from stylobate.rpc.interceptors import RpcMetrics
from stylobate.testing.until import until

from .probe import KINDS, SECRET_TEXT, Wire, wire
from .test_identity import CALLERS

CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
SPECIAL = {
    grpc.StatusCode.UNKNOWN: "INTERNAL",
    grpc.StatusCode.INTERNAL: "INTERNAL",
    grpc.StatusCode.INVALID_ARGUMENT: "INVALID_INPUT",
    grpc.StatusCode.DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
    grpc.StatusCode.NOT_FOUND: "NOT_FOUND",
    grpc.StatusCode.PERMISSION_DENIED: "PERMISSION_DENIED",
    grpc.StatusCode.UNAUTHENTICATED: "UNAUTHENTICATED",
    grpc.StatusCode.UNAVAILABLE: "UNAVAILABLE",
    grpc.StatusCode.CANCELLED: "UNAVAILABLE",
}
"""What a bare code means; any other is CALL_FAILED."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("access", list(RpcAccess))
async def test_every_wire_and_both_kinds_of_method_tell_callers_apart(
    kind: str, access: RpcAccess, tmp_path: Path, tls: TlsSettings
):
    """Whoever calls is the same caller, or refused for the same reason, with one response and with a stream of them."""
    cases = [case for case in CALLERS if case[0] is access]
    assert len(cases) > 5
    async with wire(kind, tmp_path, tls, every=access) as made:
        for _, metadata, expected in cases:
            seen = []
            for ask in (_ask_once, _ask_for_a_stream):
                try:
                    seen.append(await ask(made, metadata))
                except grpc.aio.AioRpcError as error:
                    seen.append(from_rpc_error(error).reason)
            assert seen == [expected, expected], metadata


async def _ask_once(made: Wire, metadata: tuple[tuple[str, str], ...]) -> str:
    return (await made.modules.ListModules(ListModulesRequest(), metadata=metadata)).next_page_token


async def _ask_for_a_stream(made: Wire, metadata: tuple[tuple[str, str], ...]) -> str:
    return (await made.events.ReadEvents(ReadEventsRequest(source="who"), metadata=metadata).read()).position


async def _said(made: Wire, text: str) -> tuple[grpc.StatusCode, StylobateError]:
    """Let the probe end a call so; return the bare code, and the error that a service sees which calls through its channel."""
    request = CallHookRequest(hook="say", event=text.encode())
    with pytest.raises(grpc.aio.AioRpcError) as bare:
        await made.modules.CallHook(request, timeout=5)
    calling = ModuleServiceStub(CallerChannel(made.channel, None))
    with pytest.raises(StylobateError) as typed:
        await calling.CallHook(request, timeout=5)
    return bare.value.code(), typed.value


async def test_every_code_of_a_foreign_server(any_wire: Wire):
    """The code arrives as it is, the error is that of the code, and the text, which may name anything, stays behind."""
    for code in CODES:
        arrived, error = await _said(any_wire, code.name)
        assert (arrived, error.reason) == (code, SPECIAL.get(code, "CALL_FAILED"))
        assert SECRET_TEXT not in error.detail


async def test_every_reason_crosses(any_wire: Wire):
    """An error of each class of the library arrives with its code, reason and text, and answers with the same HTTP status."""
    kinds = [kind for kind in StylobateError.registry.values() if kind.__module__.startswith("stylobate.")]
    assert len(kinds) > 20
    for kind in kinds:
        arrived, error = await _said(any_wire, f"{kind.code.name} {kind.reason}")
        if kind.reason == "SERVICE_TOKEN_INVALID":  # between services: the caller's client did nothing wrong
            assert isinstance(error, ServiceTokenRefusedError)
            continue
        assert (arrived, error.code, error.reason, error.detail) == (kind.code, kind.code, kind.reason, f"About {kind.reason}.")
        assert (error.http_status, error.domain) == (http_status_of(kind.reason, kind.code), "stylobate.actions")


@pytest.mark.parametrize("kind", KINDS)
async def test_every_ending_is_counted_alike(kind: str, tmp_path: Path, tls: TlsSettings):
    """One response or a stream: under the code that the caller sees."""
    metrics = RpcMetrics()
    async with wire(kind, tmp_path, tls, metrics=metrics) as made:
        for hook in ("echo", "out_of_stock", "defect", "junk", "too_much"):
            await made.modules.CallHook(CallHookRequest(hook=hook), timeout=20).code()
        for source in ("three", "none", "two_then_error", "two_then_defect"):
            with suppress(grpc.aio.AioRpcError):
                async for _ in made.events.ReadEvents(ReadEventsRequest(source=source)):
                    pass
        hooks = metrics.of("/stylobate.api.actions.v1.ModuleService/CallHook").codes
        await until(lambda: sum(hooks.values()) == 5)
        assert hooks == {"OK": 1, "FAILED_PRECONDITION": 1, "INTERNAL": 2, "INVALID_ARGUMENT": 1}
        streams = metrics.of("/stylobate.api.events.v1.EventService/ReadEvents").codes
        await until(lambda: sum(streams.values()) == 4)
        assert streams == {"OK": 2, "FAILED_PRECONDITION": 1, "INTERNAL": 1}
