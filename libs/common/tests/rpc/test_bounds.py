"""What strangers may hold of a gRPC server: over real channels, none of which says who it is."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from stylobate.api.actions.v1.module_service_pb2 import CallHookRequest
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub
from stylobate.clients.limit_outcome import RateLimitedError
from stylobate.errors import UnavailableError
from stylobate.rpc import build_server
from stylobate.rpc.open_streams import MAX_STREAMS, MAX_STREAMS_PER_ADDRESS
from stylobate.rpc.status import from_rpc_error
from stylobate.testing.until import until

from .probe import Probe, Users, servicers

CALL_HOOK = "/stylobate.api.actions.v1.ModuleService/CallHook"
LOCAL = "127.0.0.1:0"


class Tariff:
    """Lets a number of streams open from each address."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.charged: list[str] = []

    async def charge(self, address: str) -> None:
        """Take note of it."""
        self.charged.append(address)
        if len(self.charged) > self.free:
            raise RateLimitedError


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[str]:
    """Run a server; give its target."""
    server = build_server(servicers(Probe(), Users()), addresses=[LOCAL], reflection=True, **options)
    await server.start()
    await server.set_serving(is_serving=True)
    try:
        yield f"127.0.0.1:{server.ports[LOCAL]}"
    finally:
        await server.stop(0)


def channel(target: str) -> grpc.aio.Channel:
    """Return a channel on a connection of its own."""
    return grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])


def watch(stranger: grpc.aio.Channel) -> Any:
    """Open a health watch."""
    return health_pb2_grpc.HealthStub(stranger).Watch(health_pb2.HealthCheckRequest())


def reflect(stranger: grpc.aio.Channel) -> Any:
    """Open a reflection and ask it once."""

    async def asked() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        await asyncio.Event().wait()

    return reflection_pb2_grpc.ServerReflectionStub(stranger).ServerReflectionInfo(asked())


async def code(call: Any) -> grpc.StatusCode:
    """Return OK for a stream that was answered and stays open, else how it was refused."""
    try:
        await asyncio.wait_for(call.read(), 60)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize("open_stream", [watch, reflect])
async def test_an_address_holds_so_many_streams_whatever_its_connections(open_stream: Callable[[grpc.aio.Channel], Any]) -> None:
    """Over ten connections as over one; what is closed makes room, and looking at the health stays free."""
    assert MAX_STREAMS_PER_ADDRESS < MAX_STREAMS
    async with serving() as target:
        strangers = [channel(target) for _ in range(10)]
        calls = [open_stream(strangers[number % 10]) for number in range(MAX_STREAMS_PER_ADDRESS + 30)]
        told = await asyncio.gather(*map(code, calls))
        assert told.count(grpc.StatusCode.OK) == MAX_STREAMS_PER_ADDRESS
        assert told.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 30
        refused = next(call for call, said in zip(calls, told, strict=True) if said is not grpc.StatusCode.OK)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await refused.read()
        assert from_rpc_error(error.value).reason == "TOO_MANY_STREAMS"
        look = health_pb2_grpc.HealthStub(strangers[0]).Check
        assert (await look(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
        for call in calls:
            call.cancel()

        async def is_room() -> bool:
            return await code(open_stream(strangers[0])) is grpc.StatusCode.OK

        await until(is_room)
        for stranger in strangers:
            await stranger.close()


@pytest.mark.parametrize("open_stream", [watch, reflect])
async def test_a_stream_is_charged_as_it_opens(open_stream: Callable[[grpc.aio.Channel], Any]) -> None:
    """By the rules of the edge, on the address; a look at the health is not."""
    tariff = Tariff(2)
    async with serving(edge=tariff) as target, channel(target) as stranger:
        told = [await code(open_stream(stranger)) for _ in range(3)]
        assert told == [grpc.StatusCode.OK, grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED]
        assert tariff.charged == ["127.0.0.1"] * 3
        await health_pb2_grpc.HealthStub(stranger).Check(health_pb2.HealthCheckRequest())
        assert len(tariff.charged) == 3


def begin(stranger: grpc.aio.Channel) -> Any:
    """Begin a call whose request never comes."""

    async def never() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    return stranger.stream_unary(CALL_HOOK)(never())


def served() -> int:
    """Return how many calls the servers of this process have under way."""
    return sum(task.get_coro().__qualname__ == "_handle_exceptions" for task in asyncio.all_tasks())  # type: ignore[union-attr]


async def test_a_connection_has_so_many_calls_under_way() -> None:
    """Calls whose request never comes wait at their own end past the bound; another connection is served meanwhile."""
    async with serving(max_streams=20) as target, channel(target) as stranger, channel(target) as other:
        calls = [begin(stranger) for _ in range(200)]

        async def are_there() -> bool:
            return served() == 20

        await until(are_there)
        answer = await ModuleServiceStub(other).CallHook(CallHookRequest(hook="echo"), timeout=20)
        assert answer is not None
        await until(are_there)  # the answer comes a moment before its call has ended
        for call in calls:
            call.cancel()


async def test_a_server_has_so_many_calls_under_way() -> None:
    """Over all connections; one more is told at once that there is too much to do, and is served when there is room."""
    async with serving(max_calls=50) as target:
        strangers = [channel(target) for _ in range(5)]
        calls = [begin(strangers[number % 5]) for number in range(200)]

        async def is_full() -> bool:
            return sum(call.done() for call in calls) == 150 and served() == 50

        await until(is_full)
        stub = ModuleServiceStub(strangers[0])
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.CallHook(CallHookRequest(hook="echo"), timeout=20)
        assert isinstance(from_rpc_error(refused.value), UnavailableError)
        for call in calls:
            call.cancel()

        async def is_served() -> bool:
            try:
                await stub.CallHook(CallHookRequest(hook="echo"), timeout=20)
            except grpc.aio.AioRpcError:
                return False
            return True

        await until(is_served)
        for stranger in strangers:
            await stranger.close()
