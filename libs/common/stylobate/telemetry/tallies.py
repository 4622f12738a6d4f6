"""Metrics of what happens with every request: counted in plain numbers, and made into Prometheus metrics when scraped.

One thread counts, that of the event loop; the others only read.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from time import time
from typing import Any

from prometheus_client.metrics import Histogram
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.samples import Exemplar

BUCKETS: Sequence[float] = Histogram.DEFAULT_BUCKETS[:-1]


class Count:
    """One series of a counter."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Counts(Collector):
    """A counter with labels.

    :param name: without ``_total``.
    """

    def __init__(self, name: str, text: str, labels: Sequence[str], *, registry: CollectorRegistry) -> None:
        self._family = name, text, tuple(labels)
        self._series: dict[tuple[str, ...], Count] = {}
        registry.register(self)

    def of(self, *values: str) -> Count:
        """Return the series of these labels; keep it."""
        return self._series.setdefault(values, Count())

    def collect(self) -> Iterator[Metric]:
        """Yield the metric, for a scrape."""
        name, text, labels = self._family
        family = CounterMetricFamily(name, text, labels=labels)
        for values, series in list(self._series.items()):
            family.add_metric(values, series.count)
        yield family


class Spread:
    """One series of a histogram."""

    __slots__ = ("_bounds", "buckets", "exemplars", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.exemplars: dict[int, Exemplar] = {}
        """By bucket, the last sampled request that fell into it."""

    def observe(self, value: float, count: int = 1) -> None:
        """Count a value once, or as often as told."""
        self.buckets[bisect_left(self._bounds, value)] += count
        self.total += value * count

    def exemplify(self, value: float, traceparent: str) -> None:
        """Name the trace of a value that was counted; for sampled traces, which can be looked at."""
        bucket = bisect_left(self._bounds, value)
        self.exemplars[bucket] = Exemplar({"trace_id": traceparent[3:35], "span_id": traceparent[36:52]}, value, time())

    def told(self, marks: Sequence[str]) -> Any:
        """Return the buckets as a scrape tells them: mark, count of what is not above it, exemplar.

        :param marks: see :func:`marks_of`.
        """
        exemplars = dict(self.exemplars)
        counts = enumerate(zip(marks, accumulate(self.buckets), strict=True))
        return [(mark, float(count), exemplars.get(at)) for at, (mark, count) in counts]


def marks_of(bounds: Sequence[float]) -> tuple[str, ...]:
    """Return how a scrape names the buckets with these bounds."""
    return (*map(str, bounds), "+Inf")


class Spreads(Collector):
    """A histogram.

    :param name: with its unit, such as ``_seconds``.
    """

    def __init__(
        self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float] = BUCKETS, *, registry: CollectorRegistry
    ) -> None:
        self._family = name, text, tuple(labels)
        self._bounds = tuple(bounds)
        self._marks = marks_of(bounds)
        self._series: dict[tuple[str, ...], Spread] = {}
        registry.register(self)

    def of(self, *values: str) -> Spread:
        """Return the series of these labels; keep it."""
        return self._series.setdefault(values, Spread(self._bounds))

    def collect(self) -> Iterator[Metric]:
        """Yield the metric, for a scrape."""
        name, text, labels = self._family
        family = HistogramMetricFamily(name, text, labels=labels)
        for values, series in list(self._series.items()):
            family.add_metric(values, series.told(self._marks), series.total)
        yield family
