"""The channel that services use: what goes along, how long it may take, what comes back when it fails."""

import asyncio
from dataclasses import fields, replace

import grpc
import pytest
from stylobate.api.actions.v1.module_service_pb2 import CallHookRequest, ListModulesRequest
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub
from stylobate.api.events.v1.event_service_pb2 import ReadEventsRequest
from stylobate.api.events.v1.event_service_pb2_grpc import EventServiceStub
from stylobate.errors import DeadlineExceededError, StylobateError
from stylobate.identity import ANONYMOUS
from stylobate.rpc import Call, CallerChannel, current_call
from stylobate.rpc.caller import outgoing

from .probe import Services, Wire

_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


def _modules(wire: Wire) -> ModuleServiceStub:
    return ModuleServiceStub(CallerChannel(wire.channel, Services().token))


async def _reason(awaitable) -> str:
    with pytest.raises(StylobateError) as caught:
        await awaitable
    return caught.value.reason


def test_outside_of_a_call_only_the_service_token_goes():
    """Background work goes in the service's own name and nothing else."""
    own = (("stylobate-service-token", "service:auth"), ("stylobate-own-name", "true"))
    assert outgoing(Services("auth").token, None) == own


def test_inside_of_a_call_a_service_speaks_for_itself_only_where_that_call_does():
    """An anonymous request that a service passes on carries no rights of the service."""
    assert outgoing(Services("auth").token, Call()) == (("stylobate-service-token", "service:auth"),)
    assert ("stylobate-own-name", "true") in outgoing(Services("auth").token, Call(own_name=True))


def test_what_a_served_call_brought_goes_along():
    """The caller's token, request id, trace and depth are passed on unchanged; nothing else of the metadata is."""
    served = Call("r-1", _TRACE, "Bearer user:7", hook_depth=2, act_for="9", metadata={"cookie": "x"})
    assert outgoing(Services().token, served) == (
        ("stylobate-service-token", "service:gateway"),
        ("authorization", "Bearer user:7"),
        ("x-request-id", "r-1"),
        ("traceparent", _TRACE),
        ("stylobate-hook-depth", "2"),
    )


def test_act_for_goes_only_without_a_bearer():
    """Work in a service's own name says for whom; beside a bearer token that has no meaning."""
    assert ("stylobate-act-for", "9") in outgoing(None, Call(act_for="9"))
    assert outgoing(None, Call(act_for="9", authorization="Bearer user:7")) == (("authorization", "Bearer user:7"),)


def test_explicit_metadata_wins():
    """Metadata given with the call replaces what would be sent under the same key."""
    served = Call("r-1", authorization="Bearer user:7", hook_depth=1)
    sent = outgoing(None, served, (("stylobate-hook-depth", "2"), ("x-request-id", "r-2")))
    assert sent == (("authorization", "Bearer user:7"), ("stylobate-hook-depth", "2"), ("x-request-id", "r-2"))


def test_whose_code_runs_is_said_and_not_passed_on():
    """A handler's calls name its module; a service that is called does not say it on: it is not that module."""
    assert outgoing(None, Call(module="shop")) == (("stylobate-module", "shop"),)
    assert outgoing(None, Call(principal=ANONYMOUS.with_via("actions", "shop"))) == ()


def test_a_call_with_another_deadline_is_the_same_call():
    """Every field is taken over, whatever is added to calls."""
    served = Call(
        **{field.name: f"<{field.name}>" for field in fields(Call) if field.name != "deadline"},  # any value, to be told apart
        deadline=7.0,
    )
    assert served.running("shop", 5.0) == replace(served, deadline=5.0, module="shop")


async def test_caller_over_any_wire(any_wire: Wire):
    """Through the caller's channel the callee knows the service and its caller, and its errors are typed."""
    modules = _modules(any_wire)
    current_call.set(Call(authorization="Bearer user:7"))
    assert (await modules.ListModules(ListModulesRequest())).next_page_token == "user:7:gateway:"
    assert await _reason(modules.CallHook(CallHookRequest(hook="out_of_stock"))) == "SHOP_OUT_OF_STOCK"
    assert await _reason(modules.CallHook(CallHookRequest(hook="wait"), timeout=0.1)) == "DEADLINE_EXCEEDED"


async def test_streams_over_any_wire(any_wire: Wire):
    """A stream through the caller's channel is iterated as usual, and its errors are typed."""
    events = EventServiceStub(CallerChannel(any_wire.channel, Services().token))
    assert [message.position async for message in events.ReadEvents(ReadEventsRequest(source="three"))] == ["0", "1", "2"]
    failing = events.ReadEvents(ReadEventsRequest(source="two_then_error"))
    await failing.read()
    await failing.read()
    assert await _reason(failing.read()) == "SHOP_OUT_OF_STOCK"


async def test_the_default_timeout_is_five_seconds(local: Wire):
    """A call without a timeout has one."""
    call = _modules(local).CallHook(CallHookRequest(hook="wait"))
    await local.probe.begun.wait()
    local.probe.release.set()
    await call
    assert local.probe.remaining is not None
    assert 4 < local.probe.remaining <= 5


async def test_what_is_left_of_the_served_call_is_the_limit(local: Wire):
    """A call gets no more time than the one that it is made for has left; with none left it fails at once."""
    loop = asyncio.get_running_loop()
    current_call.set(Call(deadline=loop.time() + 0.1))
    assert await _reason(_modules(local).CallHook(CallHookRequest(hook="wait"), timeout=60)) == "DEADLINE_EXCEEDED"
    assert local.probe.remaining is not None
    assert local.probe.remaining <= 0.1
    current_call.set(Call(deadline=loop.time() - 1))
    with pytest.raises(DeadlineExceededError):
        await _modules(local).CallHook(CallHookRequest(hook="echo"))


async def test_cancelling_the_caller_is_no_error(local: Wire):
    """Cancellation of the caller stays a cancellation and reaches the handler."""

    async def caller() -> None:
        await _modules(local).CallHook(CallHookRequest(hook="wait"))

    task = asyncio.create_task(caller())
    await local.probe.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(local.probe.cancelled.wait(), 60)


async def test_the_cause_stays_at_hand(local: Wire):
    """The transport's own error, with its text, is the cause of the typed one."""
    with pytest.raises(StylobateError) as caught:
        await _modules(local).CallHook(CallHookRequest(hook="out_of_stock"))
    assert isinstance(caught.value.__cause__, grpc.aio.AioRpcError)


async def test_a_stub_costs_no_new_callables(local: Wire):
    """Stubs of the same channel share what calls a method."""
    channel = CallerChannel(local.channel, None)
    assert ModuleServiceStub(channel).CallHook is ModuleServiceStub(channel).CallHook
