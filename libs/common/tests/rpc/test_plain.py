"""Calls of one process by plain values: nobody can tell them from those with messages, and what is not plain is left to these."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any, ClassVar

import grpc.aio
import pytest
import pytest_asyncio
from stylobate.api.actions.v1.module_service_pb2 import CallHookRequest, CallHookResponse, ListModulesRequest
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub, add_ModuleServiceServicer_to_server
from stylobate.errors import StylobateError
from stylobate.identity import Principal, PrincipalKind
from stylobate.rpc import (
    Call,
    CallerChannel,
    LocalChannel,
    LocalServer,
    RpcAccess,
    Servicers,
    call,
    current_call,
    standard_interceptors,
)
from stylobate.rpc.caller import asking, asking_plainly
from stylobate.rpc.interceptors import RpcMetrics
from stylobate.rpc.method import Prompt
from stylobate.service_rights import ServiceRights

from .probe import DOORS, Probe, Services, Users

NAME = "/stylobate.api.actions.v1.ModuleService/CallHook"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
USER = "Bearer user:7"


class PlainProbe(Probe):
    """Serves the same hooks either way."""

    PROMPT: Mapping[str, Prompt] = {"CallHook": lambda _: True}
    PLAIN: ClassVar[Mapping[str, str]] = {"CallHook": "call_hook"}

    def __init__(self) -> None:
        super().__init__()
        self.plain = 0

    async def call_hook(self, caller: Call, hook: str, event: bytes) -> bytes:
        """Serve a call by plain values."""
        assert caller is call()
        self.plain += 1
        return (await self.CallHook(CallHookRequest(hook=hook, event=event), None)).data

    async def all_of_the_call(self, *_: Any) -> CallHookResponse:
        """Tell everything that a servicer may see of its call."""
        seen, now = call(), asyncio.get_running_loop().time()
        named = ("request_id", "traceparent", "authorization", "principal", "hook_depth", "act_for", "own_name", "module")
        told = [getattr(seen, name) for name in named]
        left = round(seen.deadline - now)
        return CallHookResponse(data=f"{told} {seen.client_address} {seen.client_agent} {left}".encode())

    async def wait(self, *_: Any) -> CallHookResponse:
        """Wait until somebody ends it."""
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return CallHookResponse(data=b"waited")


class Ways:
    """Both ways to one probe, with a user who is known."""

    def __init__(self, rights: Mapping[str, ServiceRights] | None = None) -> None:
        self.probe, self.users, self.services, self.metrics = PlainProbe(), Users(), Services(), RpcMetrics()
        steps = standard_interceptors(self.users, Services(), doors=DOORS, metrics=self.metrics, rights=rights)
        served = Servicers(steps)
        access = dict.fromkeys(("ListModules", "CallHook", "UpgradeStates", "ForgetUser"), RpcAccess.OPTIONAL)
        served.register(add_ModuleServiceServicer_to_server, self.probe, access)
        self.server = LocalServer(served)
        self.channel = LocalChannel(self.server)
        self.modules = ModuleServiceStub(CallerChannel(self.channel, self._token, service="actions"))
        self._ask, self._plainly = asking(self.modules.CallHook), asking_plainly(self.modules.CallHook)

    def _token(self) -> str:
        return self.services.token()

    async def messages(self, hook: str, event: bytes = b"", within_s: float = 5) -> bytes:
        """Call with messages."""
        answer: CallHookResponse = await self._ask(CallHookRequest(hook=hook, event=event), timeout=within_s)
        return answer.data

    def plainly(self, hook: str, event: bytes = b"", within_s: float = 5) -> Awaitable[bytes] | None:
        """Call by plain values."""
        return self._plainly(within_s, hook, event)

    @property
    def codes(self) -> dict[str, int]:
        """The calls that were counted, by how they ended."""
        return dict(self.metrics.of(NAME).codes)


@pytest_asyncio.fixture
async def ways() -> AsyncIterator[Ways]:
    """Give both ways."""
    made = Ways()
    await made.server.start()
    current_call.set(_call())
    await made.messages("echo")
    yield made
    made.probe.release.set()
    await made.server.stop(1)


def _call(**others: Any) -> Call:
    fields = {"request_id": "r-1", "traceparent": TRACE, "authorization": USER, "client_address": "203.0.113.9"}
    return Call(**(fields | {"client_agent": "curl/8.5"} | others))


async def _told(asked: Awaitable[bytes] | None) -> tuple[object, ...]:
    """Return all that a caller is told."""
    assert asked is not None
    try:
        return ("answer", await asked)
    except StylobateError as error:
        cause = type(error.__cause__)
        facts = error.reason, error.code, error.domain, error.detail, error.metadata, error.violations, error.retry_after
        return (type(error), *facts, cause)


async def _waited(ways: Ways) -> tuple[object, ...]:
    return await _told(ways.plainly("wait", within_s=60))


@pytest.mark.parametrize(
    "hook", ["echo", "all_of_the_call", "out_of_stock", "many_findings", "huge_findings", "defect", "cancelled_within", "wait"]
)
async def test_a_caller_is_told_the_same(ways: Ways, hook: str):
    """Answers, errors of every kind, the deadline; it is counted alike, and nothing is left of it."""
    mine, task = current_call.get(), asyncio.current_task()
    assert task is not None
    within_s = 0.01 if hook == "wait" else 5
    before = ways.codes
    found = await _told(ways.messages(hook, b"x", within_s))
    after = ways.codes
    assert await _told(ways.plainly(hook, b"x", within_s)) == found
    assert ways.probe.plain == 1
    ended = {code: count - before.get(code, 0) for code, count in after.items()}
    assert {code: count - after[code] for code, count in ways.codes.items()} == ended
    assert (current_call.get(), task.cancelling(), ways.server.live) == (mine, 0, set())


async def test_nobodys_call_is_nobodys(ways: Ways):
    """Without a token the caller is anonymous, by way of the service."""
    current_call.set(_call(authorization=""))
    assert await _told(ways.plainly("all_of_the_call")) == await _told(ways.messages("all_of_the_call"))
    assert ways.probe.plain == 1


@pytest.mark.parametrize(
    "of",
    [
        None,
        _call(request_id=""),
        _call(traceparent=""),
        _call(traceparent=f"{TRACE[:-1]}1"),
        _call(authorization="Bearer user:8"),
        _call(authorization="Basic dXNlcjpwYXNz"),
        _call(authorization="", own_name=True),
        _call(authorization="", act_for="9"),
        _call(hook_depth=4),
    ],
    ids=["nobody's", "no id", "no trace", "a sampled one", "a user never seen", "no token", "own name", "acting", "too deep"],
)
async def test_what_is_not_plain_is_left_to_messages(ways: Ways, of: Call | None):
    """Its caller asks in the other way, and is answered or refused there."""
    current_call.set(of)
    assert ways.plainly("echo") is None
    assert ways.probe.plain == 0


async def test_a_user_is_looked_at_each_time(ways: Ways):
    """One whose token is revoked is refused at once; one whose token is read anew is who it says then."""
    renewed = ways.users.known["user:7"] = Principal(PrincipalKind.USER, "7", tenant="acme")
    assert ways.plainly("echo") is None
    await ways.messages("echo")
    assert repr(renewed.with_via("gateway")).encode() in (await _told(ways.plainly("all_of_the_call")))[1]
    ways.users.revoked.add("user:7")
    assert ways.plainly("echo") is None
    assert (await _told(ways.messages("echo")))[1] == "TOKEN_REVOKED"


async def test_a_service_is_looked_at_each_time(ways: Ways):
    """With a token that does not hold no call is made by plain values; the one with messages says so."""
    ways.services.token = lambda: "forged"  # type: ignore[method-assign]
    assert ways.plainly("echo") is None
    assert (await _told(ways.messages("echo")))[1] == "SERVICE_TOKEN_REFUSED"


async def test_a_service_has_no_other_rights():
    """One that may call the method in its own name only may not call it for somebody, even for whom it may call another."""
    current_call.set(_call())
    own = NAME.removeprefix("/stylobate.api.")
    ways = Ways({"gateway": ServiceRights(own=frozenset({own}), through=frozenset({own.replace("CallHook", "ListModules")}))})
    await ways.server.start()
    await ways.modules.ListModules(ListModulesRequest())
    assert (await _told(ways.messages("echo")))[1] == "SERVICE_NOT_ALLOWED"
    assert ways.plainly("echo") is None
    await ways.server.stop()


async def test_a_server_that_does_not_serve_is_not_asked(ways: Ways):
    """Neither one that has stopped, nor by a channel that is closed."""
    await ways.server.stop()
    assert ways.plainly("echo") is None
    assert (await _told(ways.messages("echo")))[1] == "UNAVAILABLE"
    await ways.server.start()
    assert await _told(ways.plainly("echo", b"x")) == ("answer", b"x")
    await ways.channel.close()
    assert ways.plainly("echo") is None


async def test_no_time_at_all(ways: Ways):
    """As with messages."""
    current_call.set(_call(deadline=asyncio.get_running_loop().time() - 1))
    for way in (ways.messages, ways.plainly):
        with pytest.raises(StylobateError) as raised:
            await way("echo")  # type: ignore[misc]
        assert raised.value.reason == "DEADLINE_EXCEEDED"


async def test_a_stop_waits_for_it(ways: Ways):
    """As long as its grace; then it is ended, and its caller told."""
    for grace in (60, 0.01):
        ways.probe.begun.clear()
        asked = asyncio.create_task(_waited(ways))
        await ways.probe.begun.wait()
        stopping = asyncio.create_task(ways.server.stop(grace))
        await asyncio.sleep(0)
        assert ways.plainly("echo") is None
        if grace == 60:
            assert not stopping.done()
            ways.probe.release.set()
            assert await asked == ("answer", b"waited")
            ways.probe.release.clear()
        else:
            assert (await asked)[1] == "UNAVAILABLE"
        await stopping
        await ways.server.start()
    assert ways.probe.plain == 2


async def test_who_goes_away_cancels_it(ways: Ways):
    """The handler is cancelled, and the caller's own cancellation stays its own."""
    ways.probe.begun.clear()
    asked = asyncio.create_task(_waited(ways))
    await ways.probe.begun.wait()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert ways.probe.cancelled.is_set()
    assert ways.codes["CANCELLED"] == 1
    assert not ways.server.live


async def test_only_who_has_a_token_and_is_here_may(ways: Ways):
    """Others call with messages."""
    current_call.set(_call())
    for channel in (CallerChannel(ways.channel, None), ways.channel, grpc.aio.insecure_channel("127.0.0.1:1")):
        assert asking_plainly(ModuleServiceStub(channel).CallHook)(5, "echo", b"") is None
