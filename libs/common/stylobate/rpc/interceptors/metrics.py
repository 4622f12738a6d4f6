"""The counts of calls and their durations.

Counted in plain numbers on the request path; turned into Prometheus metrics when scraped.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from stylobate.telemetry.tallies import Spread, marks_of

BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_MARKS = marks_of(BOUNDS_S)
_COUNTER = "stylobate_rpc_server_calls"
_HISTOGRAM = "stylobate_rpc_server_duration_seconds"


@dataclass(slots=True)
class MethodCounts:
    """What is counted of one method."""

    codes: dict[str, int] = field(default_factory=lambda: {"OK": 0})
    seconds: Spread = field(default_factory=lambda: Spread(BOUNDS_S))


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
            durations.add_metric((name,), counts.seconds.told(_MARKS), counts.seconds.total)
        yield calls
        yield durations
