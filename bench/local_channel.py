"""What a call inside one process costs: microseconds per awaited call over LocalChannel, beside a direct await.

One caller, one call at a time, uvloop. The variants run in turn, round after round, so that a slow spell of the machine
hits all of them. Shown are the medians of the rounds, by the clock and in CPU time, and the lowest round: on a shared
machine the clock counts the neighbours too, and the lowest round is what the code costs when they are quiet.
"""

import asyncio
from collections.abc import Awaitable, Callable
from statistics import median
from time import perf_counter, process_time
from typing import Any

import uvloop
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from stylobate.api.actions.v1.module_service_pb2 import CallHookRequest, CallHookResponse
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub, add_ModuleServiceServicer_to_server
from stylobate.rpc import (
    Call,
    CallerChannel,
    LocalChannel,
    LocalServer,
    RpcAccess,
    Servicers,
    current_call,
    standard_interceptors,
)
from stylobate.rpc.interceptors import RpcMetrics
from stylobate.telemetry import configure

from bench.callers import TOKEN, Services, Users
from bench.report import Report, Target

TARGET_US = {"all interceptors": 14.0, "all interceptors, sampled": 55.0}
_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"


class _Modules:
    async def ListModules(self, _request: Any, _context: Any) -> Any:  # noqa: N802  gRPC's name
        raise NotImplementedError

    async def CallHook(self, _: CallHookRequest, _context: Any) -> CallHookResponse:  # noqa: N802  gRPC's name
        return CallHookResponse(data=b"{}")

    async def UpgradeStates(self, _request: Any, _context: Any) -> Any:  # noqa: N802  gRPC's name
        raise NotImplementedError

    async def ForgetUser(self, _request: Any, _context: Any) -> Any:  # noqa: N802  gRPC's name
        raise NotImplementedError


class _Discard(SpanExporter):
    """Takes the spans and throws them away: the cost here is that of making and queueing them."""

    def export(self, spans: Any) -> SpanExportResult:  # noqa: ARG002  OpenTelemetry's signature
        return SpanExportResult.SUCCESS


async def _stub(interceptors: tuple[Any, ...], *, caller: bool = False) -> Any:
    servicers = Servicers(interceptors)
    access = dict.fromkeys(("CallHook", "ForgetUser", "UpgradeStates"), RpcAccess.SERVICE)
    access["ListModules"] = RpcAccess.AUTHENTICATED
    servicers.register(add_ModuleServiceServicer_to_server, _Modules(), access)
    server = LocalServer(servicers)
    await server.start()
    channel = LocalChannel(server)
    return ModuleServiceStub(CallerChannel(channel, Services().token) if caller else channel)


async def _variants() -> dict[str, Callable[[], Awaitable[Any]]]:
    servicer, request = _Modules(), CallHookRequest(module="shop", hook="check_order", event=b"{}" * 30)
    services = Services()
    pipeline = standard_interceptors(Users(), services, metrics=RpcMetrics())
    bare, full, called = await _stub(()), await _stub(pipeline), await _stub(pipeline, caller=True)

    def metadata(flag: str) -> tuple[tuple[str, str], ...]:
        return (
            ("authorization", f"Bearer {TOKEN}"),
            ("stylobate-service-token", services.token()),
            ("x-request-id", "0192f3a0-0000-7000-8000-000000000001"),
            ("traceparent", _TRACE + flag),
        )

    plain, sampled = metadata("0"), metadata("1")
    loop = asyncio.get_running_loop()
    current_call.set(Call("0192f3a0-0000-7000-8000-000000000001", _TRACE + "0", f"Bearer {TOKEN}", deadline=loop.time() + 3600))
    return {
        "direct await": lambda: servicer.CallHook(request, None),
        "no interceptors": lambda: bare.CallHook(request, timeout=5),
        "all interceptors": lambda: full.CallHook(request, timeout=5, metadata=plain),
        "all interceptors, through CallerChannel": lambda: called.CallHook(request),
        "all interceptors, sampled": lambda: full.CallHook(request, timeout=5, metadata=sampled),
    }


async def _time(make: Callable[[], Awaitable[Any]], calls: int) -> tuple[float, float]:
    begun, begun_cpu = perf_counter(), process_time()
    for _ in range(calls):
        await make()
    return (perf_counter() - begun) / calls * 1e6, (process_time() - begun_cpu) / calls * 1e6


async def measure(rounds: int, calls: int) -> dict[str, list[tuple[float, float]]]:
    """Return the microseconds per call of each round, by the clock and in CPU time, by variant."""
    variants = await _variants()
    for make in variants.values():
        await _time(make, calls // 4)  # warm-up
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, make in variants.items():
            figures[name].append(await _time(make, calls))
    return figures


def report(rounds: int, calls: int) -> Report:
    """P8."""
    configure("bench", exporter=_Discard())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(measure(rounds, calls))
    found = Report("P8", "a call inside one process, us", ("variant", "clock", "CPU", "lowest"), raw=dict(figures))
    for name, times in figures.items():
        row = _summary(times)
        found.rows.append((name, *row.values()))
        if name in TARGET_US:
            found.targets.append(Target(name, row["cpu_us"], TARGET_US[name], unit="us of CPU"))
    found.notes.append(f"one caller, one call at a time; medians of {rounds} rounds of {calls} calls, variants in turn")
    return found


def _summary(rounds: list[tuple[float, float]]) -> dict[str, float]:
    clock, cpu = zip(*rounds, strict=True)
    return {"clock_us": median(clock), "cpu_us": median(cpu), "lowest_us": min(clock)}
