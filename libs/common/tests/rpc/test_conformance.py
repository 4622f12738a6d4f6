"""What a call does, whatever lies between caller and handler: local, TCP, TCP with mutual TLS, unix socket."""

import asyncio
import gc
from datetime import timedelta

import grpc
import pytest
from stylobate.api.actions.v1.module_service_pb2 import CallHookRequest, CallHookResponse, ListModulesRequest
from stylobate.api.events.v1.event_service_pb2 import ReadEventsRequest
from stylobate.errors import Violation
from stylobate.rpc import MAX_MESSAGE_BYTES, from_rpc_error, to_status
from stylobate.rpc.status import from_status

from .probe import LEAK, SECRET_TEXT, Wire, huge_error


async def soon(awaitable):
    """Wait for what must happen at once: a wire that only breaks when its connection is too old would be found out."""
    return await asyncio.wait_for(awaitable, 60)


async def _error(awaitable) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value


async def test_unary(any_wire: Wire):
    """A request reaches the handler and its response the caller."""
    response = await any_wire.modules.CallHook(CallHookRequest(hook="echo", event=b"hello"), timeout=5)
    assert response == CallHookResponse(data=b"hello")


async def test_status_of_a_call_that_worked(any_wire: Wire):
    """The call object tells OK and that it is done."""
    call = any_wire.modules.CallHook(CallHookRequest(hook="echo"), timeout=5)
    await call
    assert await call.code() is grpc.StatusCode.OK
    assert call.done()
    assert not call.cancelled()
    assert not call.cancel()


async def test_server_stream(any_wire: Wire):
    """The messages of a stream arrive all, in their order."""
    positions = [message.position async for message in any_wire.events.ReadEvents(ReadEventsRequest(source="three"))]
    assert positions == ["0", "1", "2"]


async def test_empty_stream(any_wire: Wire):
    """A stream without messages ends with OK."""
    call = any_wire.events.ReadEvents(ReadEventsRequest(source="none"))
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_error_with_details(any_wire: Wire):
    """A typed error arrives with its code, reason, text, metadata, violations and time to retry; the speaker is named."""
    failed = await _error(any_wire.modules.CallHook(CallHookRequest(hook="out_of_stock"), timeout=5))
    assert failed.code() is grpc.StatusCode.FAILED_PRECONDITION
    error = from_rpc_error(failed)
    assert (error.code, error.reason, error.detail) == (failed.code(), "SHOP_OUT_OF_STOCK", "Nothing left of ☕.")
    assert error.metadata == {"sku": "coffee"}
    assert error.violations == (Violation("/items/0/sku", "nothing left"), Violation("", "the whole is empty"))
    assert error.retry_after is not None
    assert error.retry_after.total_seconds() == 2.5
    assert error.domain == "stylobate.actions"


async def test_error_with_many_findings(any_wire: Wire):
    """An error with more findings than headers hold still arrives as that error, with the first of them."""
    failed = await _error(any_wire.modules.CallHook(CallHookRequest(hook="many_findings"), timeout=5))
    error = from_rpc_error(failed)
    assert error.reason == "SHOP_OUT_OF_STOCK"
    assert len(error.violations) == 100


async def test_error_of_any_size(any_wire: Wire):
    """An error of which every part is too long arrives as that error, cut to the same over every wire."""
    error = from_rpc_error(await _error(any_wire.modules.CallHook(CallHookRequest(hook="huge_findings"), timeout=5)))
    cut = from_status(to_status(huge_error(), domain="stylobate.actions"))
    assert cut is not None
    assert (error.reason, error.detail, error.metadata) == ("SHOP_OUT_OF_STOCK", cut.detail, cut.metadata)
    assert error.violations == cut.violations
    assert error.violations[0].pointer.startswith("/items☕")
    assert error.retry_after == timedelta(seconds=1)


async def test_error_within_a_stream(any_wire: Wire):
    """What was sent before an error is read before the error."""
    call = any_wire.events.ReadEvents(ReadEventsRequest(source="two_then_error"))
    assert [(await call.read()).position, (await call.read()).position] == ["0", "1"]
    assert from_rpc_error(await _error(call.read())).reason == "SHOP_OUT_OF_STOCK"


@pytest.mark.parametrize("hook", ["defect", "junk", "cancelled_within"])
async def test_unexpected_exception(any_wire: Wire, hook: str, caplog: pytest.LogCaptureFixture):
    """A defect is INTERNAL for the caller, without its text; the log has the traceback; the next call works."""
    failed = await _error(any_wire.modules.CallHook(CallHookRequest(hook=hook), timeout=5))
    assert failed.code() is grpc.StatusCode.INTERNAL
    assert from_rpc_error(failed).reason == "INTERNAL"
    assert SECRET_TEXT not in f"{failed.details()}{failed.debug_error_string()}{tuple(failed.trailing_metadata())}"
    assert "Traceback" in caplog.text
    assert await any_wire.modules.CallHook(CallHookRequest(hook="echo"), timeout=5)


async def test_unexpected_exception_within_a_stream(any_wire: Wire):
    """A defect in the middle of a stream ends it with INTERNAL, without its text."""
    call = any_wire.events.ReadEvents(ReadEventsRequest(source="two_then_defect"))
    await call.read()
    await call.read()
    failed = await _error(call.read())
    assert from_rpc_error(failed).reason == "INTERNAL"
    assert SECRET_TEXT not in f"{failed.details()}{tuple(failed.trailing_metadata())}"


async def test_deadline(any_wire: Wire):
    """Past its deadline a call ends with DEADLINE_EXCEEDED, and the handler, which knew the time it had, is cancelled."""
    failed = await _error(any_wire.modules.CallHook(CallHookRequest(hook="wait"), timeout=0.2))
    assert failed.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await soon(any_wire.probe.cancelled.wait())
    assert any_wire.probe.remaining is not None
    assert 0 < any_wire.probe.remaining < 0.3  # the wire rounds up


async def test_deadline_of_a_handler_that_swallows_cancellation(any_wire: Wire):
    """The caller is released at its deadline even though the handler goes on."""
    failed = await _error(any_wire.modules.CallHook(CallHookRequest(hook="stubborn"), timeout=0.2))
    assert failed.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await soon(any_wire.probe.cancelled.wait())
    assert not any_wire.probe.ended.is_set()
    any_wire.probe.release.set()
    await soon(any_wire.probe.ended.wait())


async def test_deadline_of_a_stream(any_wire: Wire):
    """A stream ends at its deadline, and its handler is cancelled."""
    call = any_wire.events.ReadEvents(ReadEventsRequest(source="one_then_wait"), timeout=0.3)
    await call.read()
    assert (await _error(call.read())).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await soon(any_wire.probe.cancelled.wait())


async def test_the_served_call_knows_its_deadline(any_wire: Wire):
    """The call that a handler finds tells how long it has, on the clock of its loop; 0 without a deadline."""
    for timeout, least, most in ((3, 1, 3.5), (None, 0, 0)):
        response = await any_wire.modules.CallHook(CallHookRequest(hook="time_left"), timeout=timeout)
        assert least <= float(response.data) <= most


async def test_no_deadline(any_wire: Wire):
    """Without a timeout the handler is told of none."""
    call = any_wire.modules.CallHook(CallHookRequest(hook="wait"))
    await soon(any_wire.probe.begun.wait())
    any_wire.probe.release.set()
    await call
    assert any_wire.probe.remaining is None


async def test_cancelling_the_call_reaches_the_handler(any_wire: Wire):
    """``call.cancel()`` cancels the handler; awaiting the call raises CancelledError."""
    call = any_wire.modules.CallHook(CallHookRequest(hook="wait"), timeout=5)
    await soon(any_wire.probe.begun.wait())
    assert call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert call.cancelled()
    assert await call.code() is grpc.StatusCode.CANCELLED
    await soon(any_wire.probe.cancelled.wait())


async def test_cancelling_the_caller_reaches_the_handler(any_wire: Wire):
    """Cancelling the task that awaits a call cancels the handler."""

    async def caller() -> None:
        await any_wire.modules.CallHook(CallHookRequest(hook="wait"), timeout=5)

    task = asyncio.create_task(caller())
    await soon(any_wire.probe.begun.wait())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await soon(any_wire.probe.cancelled.wait())


async def test_cancelling_before_anything_ran(any_wire: Wire):
    """A call that is cancelled in the same turn ends as cancelled, and the next one works."""
    call = any_wire.modules.CallHook(CallHookRequest(hook="wait"), timeout=5)
    assert call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await any_wire.modules.CallHook(CallHookRequest(hook="echo"), timeout=5)


async def test_dropping_a_stream_cancels_the_handler(any_wire: Wire):
    """A caller that leaves its loop and forgets the stream ends the call."""

    async def read_one() -> None:
        async for _ in any_wire.events.ReadEvents(ReadEventsRequest(source="one_then_wait")):
            break

    await read_one()
    gc.collect()
    await soon(any_wire.probe.cancelled.wait())


async def test_cancelling_a_reader_cancels_the_handler(any_wire: Wire):
    """Cancelling the task that reads a stream cancels the handler."""

    async def read_all() -> None:
        async for _ in any_wire.events.ReadEvents(ReadEventsRequest(source="one_then_wait")):
            seen.set()

    seen = asyncio.Event()
    task = asyncio.create_task(read_all())
    await soon(seen.wait())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await soon(any_wire.probe.cancelled.wait())


async def test_large_message(any_wire: Wire):
    """A message of 10 MiB passes both ways."""
    event = bytes(10 * 1024 * 1024)
    response = await any_wire.modules.CallHook(CallHookRequest(hook="echo", event=event), timeout=20)
    assert response.data == event


async def test_message_too_large(any_wire: Wire):
    """A request over the limit is refused with RESOURCE_EXHAUSTED and never reaches the handler."""
    request = CallHookRequest(hook="echo", event=bytes(MAX_MESSAGE_BYTES))
    failed = await _error(any_wire.modules.CallHook(request, timeout=20))
    assert failed.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not any_wire.probe.requests


async def test_response_too_large(any_wire: Wire):
    """A response over the limit is an error that says so, not one that reads like a rate limit."""
    failed = await _error(any_wire.modules.CallHook(CallHookRequest(hook="too_much"), timeout=20))
    assert failed.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert from_rpc_error(failed).reason == "ANSWER_TOO_LARGE"


async def test_duplicate_call(any_wire: Wire):
    """The same request delivered twice is two executions, each with a request and a response of its own."""
    request = CallHookRequest(hook="echo", event=b"once or twice")
    first, second = await asyncio.gather(*(any_wire.modules.CallHook(request, timeout=5) for _ in range(2)))
    assert first == second
    assert first is not second
    assert len(any_wire.probe.requests) == 2
    assert any_wire.probe.requests[0] is not any_wire.probe.requests[1]


async def test_metadata_both_ways(any_wire: Wire):
    """Metadata reaches the handler; what it sends ahead and behind, text and binary, reaches the caller."""
    call = any_wire.modules.CallHook(
        CallHookRequest(hook="metadata"), timeout=5, metadata=(("sent", "text"), ("sent-bin", b"\x00\xff"))
    )
    await call
    assert (await call.initial_metadata())["ahead"] == "text"
    assert (await call.trailing_metadata())["behind-bin"] == b"\x00\xff"


async def test_metadata_of_an_error(any_wire: Wire):
    """An error keeps the metadata that the handler had set."""
    failed = await _error(any_wire.modules.CallHook(CallHookRequest(hook="metadata_and_error"), timeout=5))
    assert failed.initial_metadata()["ahead"] == "1"
    assert failed.trailing_metadata()["behind"] == "2"
    assert from_rpc_error(failed).reason == "SHOP_OUT_OF_STOCK"


async def test_objects_do_not_leak(any_wire: Wire):
    """Handler and caller hold copies: neither sees the other change a message."""
    request = CallHookRequest(hook="mutate", event=b"of the caller")
    response = await any_wire.modules.CallHook(request, timeout=5)
    assert request.event == b"of the caller"
    assert any_wire.probe.requests[0] is not request
    any_wire.probe.responses[0].data = b"changed after the answer"
    assert response.data == b"as returned"


async def test_context_variables_do_not_leak(any_wire: Wire):
    """A handler sees no context variable of its caller, of a call before it or of whoever started the server, nor sets theirs."""
    LEAK.set("of the caller")
    for _ in range(2):
        response = await any_wire.modules.CallHook(CallHookRequest(hook="look_at_context"), timeout=5)
        assert response.data == b""
    assert LEAK.get() == "of the caller"


async def test_request_id_and_trace(any_wire: Wire):
    """The handler's call has the request id and trace that came, or new ones."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    sent = (("x-request-id", "r-1"), ("traceparent", trace))
    response = await any_wire.modules.CallHook(CallHookRequest(hook="look_at_call"), timeout=5, metadata=sent)
    assert response.data.decode() == f"r-1 {trace}"
    request_id, made = (await any_wire.modules.CallHook(CallHookRequest(hook="look_at_call"), timeout=5)).data.decode().split()
    assert len(request_id) == 36
    assert made != trace


async def test_unknown_method(any_wire: Wire):
    """A method that nobody serves is UNIMPLEMENTED."""
    call = any_wire.channel.unary_unary("/stylobate.api.actions.v1.ModuleService/Nothing")
    assert (await _error(call(b"", timeout=5))).code() is grpc.StatusCode.UNIMPLEMENTED


async def test_undecodable_request(any_wire: Wire):
    """Bytes that are not a message are INVALID_INPUT and never reach the handler."""
    call = any_wire.channel.unary_unary("/stylobate.api.actions.v1.ModuleService/CallHook")
    failed = await _error(call(b"\xff\xff\xff", timeout=5))
    assert from_rpc_error(failed).reason == "INVALID_INPUT"
    assert not any_wire.probe.requests


async def test_credentials_are_verified(any_wire: Wire):
    """A good bearer token names the caller, beside a service token with the service between; a bad one is refused."""
    user, service = ("authorization", "Bearer user:7"), ("stylobate-service-token", "service:gateway")
    assert (
        await any_wire.modules.ListModules(ListModulesRequest(), metadata=(user, service))
    ).next_page_token == "user:7:gateway:"
    bad = any_wire.modules.ListModules(ListModulesRequest(), metadata=(("authorization", "Bearer nobody"),))
    assert from_rpc_error(await _error(bad)).reason == "TOKEN_INVALID"


async def test_drain(any_wire: Wire):
    """A server that stops lets a call under way finish and refuses new ones."""
    call = any_wire.modules.CallHook(CallHookRequest(hook="wait"), timeout=10)
    await soon(any_wire.probe.begun.wait())
    stopping = asyncio.create_task(any_wire.server.stop(5))
    unanswered = 0
    while True:
        refused = any_wire.modules.CallHook(CallHookRequest(hook="echo"), timeout=1)
        if await refused.code() is grpc.StatusCode.OK:
            continue
        if from_rpc_error(await _error(refused)).reason == "UNAVAILABLE":
            break
        unanswered += 1  # gRPC may lose a call that arrives at the very moment
        assert unanswered == 1
    any_wire.probe.release.set()
    assert (await call).data == b"waited"
    await stopping


async def test_a_stopping_server_ends_its_streams(any_wire: Wire):
    """An open stream does not hold up the stop: its handler is ended at once, and its reader told to come back."""
    messages = any_wire.events.ReadEvents(ReadEventsRequest(source="one_then_wait")).__aiter__()
    assert (await anext(messages)).position == "0"
    stopping = asyncio.create_task(any_wire.server.stop(60))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(messages)
    assert from_rpc_error(caught.value).reason == "UNAVAILABLE"
    assert any_wire.probe.ended.is_set()
    await soon(stopping)
