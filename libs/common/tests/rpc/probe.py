# ruff: noqa: D102, N802  the methods are named after what they do, or by gRPC
"""A servicer whose behaviour a test chooses by name, and the wires that it is reached over."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc.aio
from stylobate.api.actions.v1 import module_service_pb2_grpc as module_grpc
from stylobate.api.actions.v1.module_service_pb2 import (
    CallHookRequest,
    CallHookResponse,
    ListModulesRequest,
    ListModulesResponse,
    Module,
)
from stylobate.api.events.v1 import event_service_pb2_grpc as event_grpc
from stylobate.api.events.v1.event_service_pb2 import ReadEventsRequest, ReadEventsResponse
from stylobate.errors import StylobateError, TokenInvalidError, TokenRevokedError, UnavailableError, Violation
from stylobate.identity.principal import Principal, PrincipalKind
from stylobate.rpc import (
    MAX_MESSAGE_BYTES,
    GrpcServer,
    LocalChannel,
    LocalServer,
    RpcAccess,
    Servicers,
    TlsSettings,
    build_server,
    call,
    idempotent_methods,
    open_channel,
    standard_interceptors,
)
from stylobate.rpc.interceptors import RpcMetrics
from stylobate.rpc.method import Prompt
from stylobate.testing.until import until, wait_until

KINDS = ("local", "prompt", "tcp", "mtls", "unix", "mux", "mux-mtls")
"""The wires. ``prompt`` is local, with handlers that run in the task of whoever calls them."""
DOORS = ("gateway", "realtime")
"""Who is believed about where a client is."""
_MODULES = "stylobate.api.actions.v1.ModuleService"
LEAK: ContextVar[str] = ContextVar("leak", default="")
SECRET_TEXT = "select password from users at /srv/app/store.py"


class OutOfStockError(StylobateError):
    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "SHOP_OUT_OF_STOCK"


def huge_error() -> OutOfStockError:
    """Return an error of which every part is longer than headers hold."""
    return OutOfStockError(
        "☕" * 5_000,
        metadata={"sku": "☕" * 5_000},
        violations=[Violation(f"/{'items☕' * 400}/{n}", "must be fewer ☕" * 400) for n in range(500)],
        retry_after=timedelta(seconds=1),
    )


class Users:
    """Bearer tokens ``user:<id>``; the first look at one is a verification, later ones a look-up."""

    def __init__(self) -> None:
        self.known: dict[str, Principal] = {}
        self.revoked: set[str] = set()
        self.verified = 0

    def cached(self, token: str) -> Principal | None:
        if token in self.revoked:
            raise TokenRevokedError
        return self.known.get(token)

    async def verify(self, token: str) -> Principal:
        if not token.startswith("user:"):
            raise TokenInvalidError
        self.verified += 1
        return self.known.setdefault(token, Principal(kind=PrincipalKind.USER, id=token.removeprefix("user:")))


class Services:
    """Service tokens ``service:<name>``."""

    def __init__(self, own: str = "gateway") -> None:
        self.own = own

    def token(self) -> str:
        return f"service:{self.own}"

    def verify(self, token: str, audiences: Any = ()) -> str:
        if not token.startswith("service:"):
            raise TokenInvalidError
        return token.removeprefix("service:")


class Probe(module_grpc.ModuleServiceServicer, event_grpc.EventServiceServicer):
    """``hook`` of a CallHook and ``source`` of a ReadEvents name the method here that answers."""

    PROMPT: Mapping[str, Prompt] = {}

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.responses: list[Any] = []
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.release = asyncio.Event()
        self.ended = asyncio.Event()
        self.written = 0
        self.remaining: float | None = None
        self.failures = 0
        self.cut = 0

    async def fail_while_told(self, context: Any) -> None:
        """End as a cut connection does as often as ``cut`` says, then answer UNAVAILABLE as often as ``failures`` says."""
        if self.cut:
            self.cut -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
        if self.failures:
            self.failures -= 1
            raise UnavailableError

    async def ListModules(self, request: ListModulesRequest, context: Any) -> ListModulesResponse:
        self.requests.append(request)
        await self.fail_while_told(context)
        caller = call().principal
        seen = [Module(name=caller.tenant, description=f"{call().client_address} {call().client_agent}")]
        return ListModulesResponse(modules=seen, next_page_token=_shown(caller))

    async def CallHook(self, request: CallHookRequest, context: Any) -> CallHookResponse:
        self.requests.append(request)
        self.begun.set()
        behave: Callable[[CallHookRequest, Any], Awaitable[CallHookResponse]] = getattr(self, request.hook)
        response = await behave(request, context)
        self.responses.append(response)
        return response

    async def ReadEvents(self, request: ReadEventsRequest, context: Any) -> AsyncIterator[ReadEventsResponse]:
        self.requests.append(request)
        self.begun.set()
        async for response in getattr(self, request.source)(request, context):
            yield response

    # single responses

    async def echo(self, request: CallHookRequest, _: Any) -> CallHookResponse:
        return CallHookResponse(data=request.event)

    async def block(self, request: CallHookRequest, _: Any) -> CallHookResponse:
        """Hold up the whole process until there is such a file."""
        wait_until(Path(request.event.decode()).exists, timedelta(minutes=1))
        return CallHookResponse()

    async def which_task(self, *_: Any) -> CallHookResponse:
        return CallHookResponse(data=str(id(asyncio.current_task())).encode())

    async def flaky(self, _: Any, context: Any) -> CallHookResponse:
        await self.fail_while_told(context)
        return CallHookResponse()

    async def out_of_stock(self, *_: Any) -> CallHookResponse:
        raise OutOfStockError(
            "Nothing left of ☕.",
            metadata={"sku": "coffee"},
            violations=[Violation("/items/0/sku", "nothing left"), Violation("", "the whole is empty")],
            retry_after=timedelta(seconds=2.5),
        )

    async def many_findings(self, *_: Any) -> CallHookResponse:
        raise OutOfStockError(violations=[Violation(f"/items/{n}/quantity", "must be at least 1" * 8) for n in range(500)])

    async def huge_findings(self, *_: Any) -> CallHookResponse:
        raise huge_error()

    async def say(self, request: CallHookRequest, context: Any) -> CallHookResponse:
        """End with the reason that the request names, or with a bare code, as a foreign server does."""
        code, _, reason = request.event.decode().partition(" ")
        if not reason:
            await context.abort(grpc.StatusCode[code], SECRET_TEXT)
        raise StylobateError.of(code=grpc.StatusCode[code], reason=reason, detail=f"About {reason}.")

    async def defect(self, *_: Any) -> CallHookResponse:
        raise RuntimeError(SECRET_TEXT)

    async def junk(self, *_: Any) -> CallHookResponse:
        return "no message"  # type: ignore[return-value]

    async def wait(self, _: Any, context: Any) -> CallHookResponse:
        self.remaining = context.time_remaining()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.ended.set()
        return CallHookResponse(data=b"waited")

    async def stubborn(self, *_: Any) -> CallHookResponse:
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
        self.ended.set()
        return CallHookResponse(data=b"late")

    async def cancelled_within(self, *_: Any) -> CallHookResponse:
        inner = asyncio.get_running_loop().create_future()
        inner.cancel()
        await inner
        raise AssertionError("unreachable")

    async def metadata(self, _: Any, context: Any) -> CallHookResponse:
        received = dict(context.invocation_metadata())
        await context.send_initial_metadata((("ahead", received["sent"]),))
        context.set_trailing_metadata((("behind-bin", received["sent-bin"]),))
        return CallHookResponse()

    async def metadata_and_error(self, _: Any, context: Any) -> CallHookResponse:
        await context.send_initial_metadata((("ahead", "1"),))
        context.set_trailing_metadata((("behind", "2"),))
        raise OutOfStockError

    async def too_much(self, *_: Any) -> CallHookResponse:
        return CallHookResponse(data=bytes(MAX_MESSAGE_BYTES))

    async def large(self, *_: Any) -> CallHookResponse:
        return CallHookResponse(data=bytes(10 * 1024 * 1024))

    async def time_left(self, *_: Any) -> CallHookResponse:
        left = call().deadline - asyncio.get_running_loop().time() if call().deadline else 0
        return CallHookResponse(data=str(left).encode())

    async def mutate(self, request: CallHookRequest, _: Any) -> CallHookResponse:
        request.event = b"changed by the handler"
        return CallHookResponse(data=b"as returned")

    async def look_at_context(self, *_: Any) -> CallHookResponse:
        seen = LEAK.get()
        LEAK.set("left by a handler")
        return CallHookResponse(data=seen.encode())

    async def look_at_call(self, *_: Any) -> CallHookResponse:
        return CallHookResponse(data=f"{call().request_id} {call().traceparent}".encode())

    # streams

    async def who(self, *_: Any) -> AsyncIterator[ReadEventsResponse]:
        yield ReadEventsResponse(position=_shown(call().principal))

    async def three(self, *_: Any) -> AsyncIterator[ReadEventsResponse]:
        for number in range(3):
            yield ReadEventsResponse(position=str(number))

    async def none(self, *_: Any) -> AsyncIterator[ReadEventsResponse]:
        return
        yield ReadEventsResponse()

    async def two_then_error(self, *_: Any) -> AsyncIterator[ReadEventsResponse]:
        yield ReadEventsResponse(position="0")
        yield ReadEventsResponse(position="1")
        raise OutOfStockError

    async def two_then_defect(self, *_: Any) -> AsyncIterator[ReadEventsResponse]:
        yield ReadEventsResponse(position="0")
        yield ReadEventsResponse(position="1")
        raise RuntimeError(SECRET_TEXT)

    async def one_then_wait(self, *_: Any) -> AsyncIterator[ReadEventsResponse]:
        try:
            yield ReadEventsResponse(position="0")
            await self.release.wait()
        except (asyncio.CancelledError, GeneratorExit):  # the latter where it was still handing the message over
            self.cancelled.set()
            raise
        finally:
            self.ended.set()

    async def deaf(self, *_: Any) -> AsyncIterator[ReadEventsResponse]:
        await self.stubborn()
        yield ReadEventsResponse()

    async def endless(self, *_: Any) -> AsyncIterator[ReadEventsResponse]:
        try:
            while True:
                yield ReadEventsResponse(position=str(self.written))
                self.written += 1
        finally:
            self.ended.set()


@dataclass
class Wire:
    """A way to the probe."""

    probe: Probe
    channel: grpc.aio.Channel
    server: LocalServer | GrpcServer
    users: Users

    @property
    def modules(self) -> Any:
        return module_grpc.ModuleServiceStub(self.channel)

    @property
    def events(self) -> Any:
        return event_grpc.EventServiceStub(self.channel)


def _shown(caller: Principal) -> str:
    return f"{caller.kind}:{caller.id}:{caller.via}:{caller.act_for}"


def servicers(
    probe: Probe,
    users: Users,
    hook: RpcAccess = RpcAccess.PUBLIC,
    *,
    every: RpcAccess | None = None,
    metrics: RpcMetrics | None = None,
) -> Servicers:
    """Return the probe behind the whole pipeline.

    :param every: the access of every method, where all are to have one.
    """
    made = Servicers(standard_interceptors(users, Services(), doors=DOORS, metrics=metrics or RpcMetrics()))
    access = {
        "ListModules": every or RpcAccess.OPTIONAL,
        "CallHook": every or hook,
        "UpgradeStates": RpcAccess.SERVICE,
        "ForgetUser": RpcAccess.SERVICE,
    }
    made.register(module_grpc.add_ModuleServiceServicer_to_server, probe, access)
    made.register(
        event_grpc.add_EventServiceServicer_to_server, probe, dict.fromkeys(("ReadEvents", "ListLogs"), every or RpcAccess.PUBLIC)
    )
    return made


@asynccontextmanager
async def wire(
    kind: str, folder: Path, tls: TlsSettings, *, every: RpcAccess | None = None, metrics: RpcMetrics | None = None
) -> AsyncIterator[Wire]:
    """Serve a probe over one of :data:`KINDS` and connect to it; with ``mux`` by a stream."""
    LEAK.set("of whoever started the server")
    probe, users = Probe(), Users()
    if kind == "prompt":
        probe.PROMPT = {"CallHook": lambda request: request.hook != "stubborn", "ListModules": lambda _: True}
    served = servicers(probe, users, every=every, metrics=metrics)
    if kind in {"local", "prompt"}:
        local = LocalServer(served)
        await local.start()
        yield Wire(probe, LocalChannel(local), local, users)
        probe.release.set()
        await local.stop()
        assert not local.live
        return
    address = f"unix:{folder}/rpc.sock" if kind == "unix" else "127.0.0.1:0"
    secure = tls if kind.endswith("mtls") else None
    is_mux = kind.startswith("mux")
    server = build_server(served, addresses=[address], tls=secure, reflection=True, mux_port=0 if is_mux else None)
    await server.start()
    target = address if kind == "unix" else f"127.0.0.1:{server.ports[address]}"
    async with open_channel(target, tls=secure, idempotent=idempotent_methods([_MODULES]), mux=is_mux) as channel:
        if is_mux:
            await until(lambda: channel.inner.pick() is not None)
        yield Wire(probe, channel, server, users)
        probe.release.set()
    await server.stop(0)
