"""Prometheus metrics: one registry per process, every name with the prefix ``stylobate_``.

Look a labelled child up once and keep it: ``.labels()`` costs more than counting. What is counted for every request is
better counted in plain numbers and handed over when scraped: by :meth:`MetricsCollector.counts` and
:meth:`MetricsCollector.spreads`, or by a collector of its own (:meth:`MetricsCollector.collector`).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar, cast

from prometheus_client.metrics import Counter, Gauge, Histogram
from prometheus_client.registry import REGISTRY, Collector, CollectorRegistry

from stylobate.telemetry.tallies import BUCKETS, Counts, Spreads

C = TypeVar("C", bound=Collector)

PREFIX = "stylobate_"


class MetricsCollector:
    """Makes the metrics of one registry; asking again for a name gives the same metric.

    A name that stands for another kind of metric or for other labels is a defect and raises ValueError.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._made: dict[str, tuple[object, Any]] = {}

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        """Return the counter; it is shown as ``stylobate_<name>_total``."""
        return self._metric(Counter, name, text, labels)

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        """Return the gauge."""
        return self._metric(Gauge, name, text, labels)

    def histogram(
        self, name: str, text: str, labels: Sequence[str] = (), buckets: Sequence[float] = Histogram.DEFAULT_BUCKETS
    ) -> Histogram:
        """Return the histogram; name it with its unit, such as ``_seconds``."""
        return self._metric(Histogram, name, text, labels, buckets=buckets)

    def counts(self, name: str, text: str, labels: Sequence[str]) -> Counts:
        """Return the counter of what every request is counted in; shown as ``stylobate_<name>_total``."""
        return self._metric(Counts, name, text, labels)

    def spreads(self, name: str, text: str, labels: Sequence[str] = (), bounds: Sequence[float] = BUCKETS) -> Spreads:
        """Return the histogram of what every request is measured in; name it with its unit."""
        return self._metric(Spreads, name, text, labels, bounds=bounds)

    def collector(self, name: str, make: Callable[[], C]) -> C:
        """Return the collector of that name, made and registered at the first call."""
        if name not in self._made:
            self.registry.register(self._once(name, make, make))
        return self._once(name, make, make)

    def _metric(self, kind: Callable[..., C], name: str, text: str, labels: Sequence[str], **more: Any) -> C:
        make = partial(kind, PREFIX + name, text, labels, registry=self.registry, **more)
        return self._once(name, (kind, tuple(labels)), make)

    def _once(self, name: str, shape: object, make: Callable[[], C]) -> C:
        if name not in self._made:
            self._made[name] = shape, make()
        known, made = self._made[name]
        if known != shape:
            raise ValueError(f"metric {name} is already another metric")
        return cast("C", made)


_process = MetricsCollector(REGISTRY)  # one for a process, as its registry is
counter, gauge, histogram, collector = _process.counter, _process.gauge, _process.histogram, _process.collector
counts, spreads = _process.counts, _process.spreads
