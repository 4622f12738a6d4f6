"""Counts and times calls, and writes the access line of each at debug.

Counted in plain numbers on the request path; turned into Prometheus metrics when scraped.
"""

import asyncio
import logging
from bisect import bisect_left
from collections.abc import Iterator
from time import perf_counter

import grpc
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from stylobate.logs import get_logger
from stylobate.rpc.call import call as served_call
from stylobate.rpc.method import Behaviour, Context, Method

_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_COUNTER = "stylobate_rpc_server_calls"
_HISTOGRAM = "stylobate_rpc_server_duration_seconds"
_access = get_logger("access")
_access_level = logging.getLogger("stylobate.access")  # asked first: a disabled structlog call costs more than the counting


class MethodCounts:
    """What is counted of one method."""

    __slots__ = ("buckets", "codes", "seconds")

    def __init__(self) -> None:
        self.codes: dict[str, int] = {"OK": 0}
        self.buckets = [0] * (len(_BOUNDS_S) + 1)
        self.seconds = 0.0


class RpcMetrics(Collector):
    """The calls that a process served, by method: count by status code, and duration."""

    def __init__(self) -> None:
        self._methods: dict[str, MethodCounts] = {}

    def of(self, full_name: str) -> MethodCounts:
        """Return the counts of a method."""
        return self._methods.setdefault(full_name, MethodCounts())

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, for a scrape."""
        calls = CounterMetricFamily(_COUNTER, "Calls served, by method and status code.", labels=("method", "code"))
        durations = HistogramMetricFamily(_HISTOGRAM, "Duration of the calls served.", labels=("method",))
        for name, counts in list(self._methods.items()):
            for code, count in list(counts.codes.items()):
                calls.add_metric((name, code), count)
            durations.add_metric((name,), _cumulative(counts.buckets), counts.seconds)
        yield calls
        yield durations


class MetricsInterceptor:
    """Counts every call with the status code that it ended with."""

    def __init__(self, metrics: RpcMetrics) -> None:
        self._metrics = metrics

    def bind(self, inner: Behaviour, method: Method, /) -> Behaviour:
        """Return the behaviour that is counted."""
        counts = self._metrics.of(method.full_name)
        codes, buckets, name = counts.codes, counts.buckets, method.full_name

        async def behaviour(data: bytes, context: Context) -> bytes:
            begun = perf_counter()
            code = "OK"
            try:
                return await inner(data, context)
            except BaseException as error:
                code = code_of(context, error)
                raise
            finally:
                seconds = perf_counter() - begun
                codes[code] = codes.get(code, 0) + 1
                buckets[bisect_left(_BOUNDS_S, seconds)] += 1
                counts.seconds += seconds
                if _access_level.isEnabledFor(logging.DEBUG):
                    _write_line(name, code, seconds, context)

        return behaviour


def code_of(context: Context, error: BaseException) -> str:
    """Return the name of the code that the caller sees."""
    code = context.code()
    if code is not None:
        return code.name
    if isinstance(error, asyncio.CancelledError):
        expired = context.time_remaining() == 0
        return (grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED).name
    return grpc.StatusCode.UNKNOWN.name


def _write_line(method: str, code: str, seconds: float, context: Context) -> None:
    call = served_call()
    _access.debug(
        "rpc",
        method=method,
        code=code,
        ms=round(seconds * 1000, 3),
        request_id=call.request_id,
        principal=call.principal.id,
        via=call.principal.via,
        peer=context.peer(),
    )


def _cumulative(buckets: list[int]) -> list[tuple[str, float]]:
    total, result = 0, []
    for bound, count in zip((*map(str, _BOUNDS_S), "+Inf"), buckets, strict=True):
        total += count
        result.append((bound, float(total)))
    return result
