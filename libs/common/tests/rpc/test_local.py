"""What is particular to calls inside a process: start and end of the server, backpressure, tasks that are kept and let go."""

import asyncio
import gc

import grpc
import pytest
from stylobate.api.actions.v1.module_service_pb2 import CallHookRequest, CallHookResponse, ListModulesRequest
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub, add_ModuleServiceServicer_to_server
from stylobate.api.events.v1.event_service_pb2 import ReadEventsRequest
from stylobate.rpc import MAX_MESSAGE_BYTES, Call, LocalChannel, LocalServer, RpcAccess, Servicers, current_call, from_rpc_error
from stylobate.testing.until import until

from .probe import Probe, Wire

_ACCESS = {
    "ListModules": RpcAccess.PUBLIC,
    "CallHook": RpcAccess.PUBLIC,
    "UpgradeStates": RpcAccess.PUBLIC,
    "ForgetUser": RpcAccess.PUBLIC,
}


async def _code(call) -> grpc.StatusCode:
    return await call.code()


async def test_a_channel_made_before_anything_is_registered():
    """Before the start a call is UNAVAILABLE, registered or not; after it the same stub works."""
    servicers = Servicers()
    server = LocalServer(servicers)
    channel = LocalChannel(server)
    stub = ModuleServiceStub(channel)
    assert await _code(stub.CallHook(CallHookRequest(hook="echo"))) is grpc.StatusCode.UNAVAILABLE
    servicers.register(add_ModuleServiceServicer_to_server, Probe(), _ACCESS)
    assert await _code(stub.CallHook(CallHookRequest(hook="echo"))) is grpc.StatusCode.UNAVAILABLE
    assert channel.get_state() is grpc.ChannelConnectivity.IDLE
    await server.start()
    assert channel.get_state() is grpc.ChannelConnectivity.READY
    assert await _code(stub.CallHook(CallHookRequest(hook="echo"))) is grpc.StatusCode.OK


async def test_a_service_registered_after_the_start_is_found():
    """A method is UNIMPLEMENTED until it is registered, and looked for again at the next call."""
    servicers = Servicers()
    server = LocalServer(servicers)
    stub = ModuleServiceStub(LocalChannel(server))
    await server.start()
    assert await _code(stub.CallHook(CallHookRequest(hook="echo"))) is grpc.StatusCode.UNIMPLEMENTED
    servicers.register(add_ModuleServiceServicer_to_server, Probe(), _ACCESS)
    assert await _code(stub.CallHook(CallHookRequest(hook="echo"))) is grpc.StatusCode.OK


async def test_wait_for_ready():
    """A call that waits for readiness is served when the server starts; so is whoever waits for the channel."""
    servicers = Servicers()
    servicers.register(add_ModuleServiceServicer_to_server, Probe(), _ACCESS)
    server = LocalServer(servicers)
    channel = LocalChannel(server)
    call = ModuleServiceStub(channel).CallHook(CallHookRequest(hook="echo", event=b"x"), timeout=5, wait_for_ready=True)
    changed = asyncio.create_task(channel.wait_for_state_change(grpc.ChannelConnectivity.IDLE))
    ready = asyncio.create_task(channel.channel_ready())
    await asyncio.sleep(0)
    assert not call.done()
    await server.start()
    assert (await call).data == b"x"
    await ready
    await changed
    await server.stop()


async def test_wait_for_ready_has_a_deadline():
    """A call that waits for a server that never starts ends at its deadline."""
    server = LocalServer(Servicers())
    call = ModuleServiceStub(LocalChannel(server)).CallHook(CallHookRequest(), timeout=0.05, wait_for_ready=True)
    assert await _code(call) is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_no_time_at_all(local: Wire):
    """A timeout of nothing is DEADLINE_EXCEEDED, and the handler never runs."""
    call = local.modules.CallHook(CallHookRequest(hook="echo"), timeout=0)
    stream = local.events.ReadEvents(ReadEventsRequest(source="three"), timeout=0)
    assert [await _code(call), await _code(stream)] == [grpc.StatusCode.DEADLINE_EXCEEDED] * 2
    assert not local.probe.begun.is_set()


async def test_stop_without_grace_answers_callers(local: Wire):
    """Calls under way when the server stops end with UNAVAILABLE, and their handlers are cancelled."""
    call = local.modules.CallHook(CallHookRequest(hook="wait"), timeout=5)
    stream = local.events.ReadEvents(ReadEventsRequest(source="one_then_wait"))
    await stream.read()
    await local.server.stop(None)
    assert await _code(call) is grpc.StatusCode.UNAVAILABLE
    assert await _code(stream) is grpc.StatusCode.UNAVAILABLE
    assert local.probe.ended.is_set()
    assert await _code(local.modules.CallHook(CallHookRequest(hook="echo"))) is grpc.StatusCode.UNAVAILABLE


async def test_a_closed_channel_is_not_used(local: Wire):
    """A closed channel raises UsageError, as a real one does."""
    modules = local.modules
    assert await modules.CallHook(CallHookRequest(hook="echo"))
    await local.channel.close()
    with pytest.raises(grpc.aio.UsageError):
        modules.CallHook(CallHookRequest(hook="echo"))


async def test_an_unread_stream_holds_its_handler(local: Wire):
    """A handler that writes without end is held after 16 messages, goes on as they are read, and ends with the stream."""
    stream = local.events.ReadEvents(ReadEventsRequest(source="endless"))
    assert (await stream.read()).position == "0"
    for _ in range(100):
        await asyncio.sleep(0)
    held = local.probe.written
    assert held <= 18
    for number in range(1, 40):
        assert (await stream.read()).position == str(number)
    assert 39 <= local.probe.written <= 39 + 18
    stream.cancel()
    await asyncio.wait_for(local.probe.ended.wait(), 60)


async def test_nothing_is_kept_of_calls_that_ended(local: Wire):
    """The server lets go of calls that worked, failed, expired, were cancelled at once or dropped."""
    await local.modules.CallHook(CallHookRequest(hook="echo"), timeout=5)
    await _code(local.modules.CallHook(CallHookRequest(hook="out_of_stock"), timeout=5))
    await _code(local.modules.CallHook(CallHookRequest(hook="wait"), timeout=0.01))
    local.modules.CallHook(CallHookRequest(hook="wait"), timeout=5).cancel()
    local.events.ReadEvents(ReadEventsRequest(source="one_then_wait"))
    gc.collect()
    await asyncio.wait_for(asyncio.gather(*(call.task for call in local.server.live), return_exceptions=True), 60)
    await asyncio.sleep(0)
    assert not local.server.live


async def test_a_call_that_nobody_awaits_runs(local: Wire):
    """A call whose object is dropped runs to its end, and its failure disturbs nobody."""
    local.modules.CallHook(CallHookRequest(hook="out_of_stock"), timeout=5)
    local.modules.CallHook(CallHookRequest(hook="echo", event=b"alone"), timeout=5)
    gc.collect()
    await asyncio.wait_for(asyncio.gather(*(call.task for call in local.server.live)), 60)
    assert local.probe.responses[0].data == b"alone"


async def test_the_handler_is_a_task_of_its_own(local: Wire):
    """Nothing of the handler runs inside the call that starts it."""
    call = local.modules.CallHook(CallHookRequest(hook="echo"), timeout=5)
    assert not local.probe.begun.is_set()
    await call


async def test_callbacks(local: Wire):
    """Callbacks of the caller hear of the end of their call."""
    ended: list[object] = []
    call = local.modules.ListModules(ListModulesRequest())
    call.add_done_callback(ended.append)
    await call
    await asyncio.sleep(0)
    assert ended == [call]


async def test_what_is_prompt_runs_where_it_is_awaited(prompt: Wire):
    """Its handler is in its caller's task, with a context of its own; one that nobody awaits begins all the same."""
    call = prompt.modules.CallHook(CallHookRequest(hook="which_task"))
    assert (await call).data == str(id(asyncio.current_task())).encode()
    assert await call.code() is grpc.StatusCode.OK
    prompt.modules.CallHook(CallHookRequest(hook="echo", event=b"x"))
    await until(lambda: prompt.probe.responses[-1:] == [CallHookResponse(data=b"x")])
    asked = prompt.modules.CallHook(CallHookRequest(hook="echo", event=b"y"))
    assert not asked.done()
    assert (await asyncio.wait_for(asked, 5)).data == b"y"


async def test_the_end_of_a_prompt_call_is_its_callers(prompt: Wire):
    """Its deadline and the call's cancellation by another leave no cancellation behind in its caller's task."""
    task = asyncio.current_task()
    assert task is not None
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await prompt.modules.CallHook(CallHookRequest(hook="wait"), timeout=0.01)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert prompt.probe.cancelled.is_set()
    call = prompt.modules.CallHook(CallHookRequest(hook="wait"))
    asyncio.get_running_loop().call_soon(call.cancel)
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await call.code() is grpc.StatusCode.CANCELLED
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await prompt.modules.CallHook(CallHookRequest(hook="wait"))
    assert task.cancelling() == 0


async def test_a_stopping_server_ends_prompt_calls(prompt: Wire):
    """Who awaits one is told UNAVAILABLE once the grace is over."""
    call = prompt.modules.CallHook(CallHookRequest(hook="wait"))
    asyncio.get_running_loop().call_soon(asyncio.create_task, prompt.server.stop(0.01))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_who_asks_is_told_in_its_own_task(prompt: Wire):
    """It needs no handle; the call that it serves itself is the current one again when it is told, also of a failure."""
    ask, task = prompt.modules.CallHook.ask, asyncio.current_task()
    mine = Call("r-1")
    current_call.set(mine)
    assert (await ask(CallHookRequest(hook="which_task"), 5, ())).data == str(id(task)).encode()
    assert current_call.get() is mine
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await ask(CallHookRequest(hook="out_of_stock"), 5, ())
    assert from_rpc_error(raised.value).reason == "SHOP_OUT_OF_STOCK"
    assert current_call.get() is mine
    assert (await ask(CallHookRequest(hook="which_task"), None, ())).data == str(id(task)).encode()


async def test_who_asks_waits_no_longer_than_it_wants(prompt: Wire):
    """Its deadline, its end by another and a server that stops leave no cancellation behind in its task."""
    ask, task = prompt.modules.CallHook.ask, asyncio.current_task()
    assert task is not None
    for timeout in (0.01, 0):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await ask(CallHookRequest(hook="wait"), timeout, ())
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert prompt.probe.cancelled.is_set()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await ask(CallHookRequest(hook="wait"), None, ())
    asyncio.get_running_loop().call_soon(asyncio.create_task, prompt.server.stop(0.01))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await ask(CallHookRequest(hook="wait"), 5, ())
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert task.cancelling() == 0


async def test_who_asks_hands_its_message_over(prompt: Wire):
    """It is not encoded and read again; what is refused for how it is encoded is refused all the same, and so is an answer."""
    ask, request = prompt.modules.CallHook.ask, CallHookRequest(hook="echo", event=b"x")
    answer = await ask(request, 5, ())
    assert prompt.probe.requests[-1] is request
    assert prompt.probe.responses[-1] is answer
    for refused, reason in (
        (CallHookRequest(hook="echo\0"), "INVALID_INPUT"),
        (CallHookRequest(hook="echo", event=bytes(MAX_MESSAGE_BYTES)), "CALL_FAILED"),
        (CallHookRequest(hook="too_much"), "ANSWER_TOO_LARGE"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await ask(refused, 5, ())
        assert from_rpc_error(raised.value).reason == reason
    assert prompt.probe.requests[-1].hook == "too_much"
    assert not [seen for seen in prompt.probe.requests if "\0" in seen.hook]
