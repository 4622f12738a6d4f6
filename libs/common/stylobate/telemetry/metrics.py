"""Prometheus metrics: one registry per process, every name with the prefix ``stylobate_``.

Look a labelled child up once and keep it: ``.labels()`` costs more than counting. What is counted for every request is
better counted in plain numbers and handed over when scraped, by a collector of its own (:meth:`MetricsCollector.collector`).
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar, cast

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.registry import Collector

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
        return self._once(name, (Counter, tuple(labels)), lambda: Counter(PREFIX + name, text, labels, registry=self.registry))

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        """Return the gauge."""
        return self._once(name, (Gauge, tuple(labels)), lambda: Gauge(PREFIX + name, text, labels, registry=self.registry))

    def histogram(
        self, name: str, text: str, labels: Sequence[str] = (), buckets: Sequence[float] = Histogram.DEFAULT_BUCKETS
    ) -> Histogram:
        """Return the histogram; name it with its unit, such as ``_seconds``."""
        return self._once(
            name,
            (Histogram, tuple(labels)),
            lambda: Histogram(PREFIX + name, text, labels, buckets=buckets, registry=self.registry),
        )

    def collector(self, name: str, make: Callable[[], C]) -> C:
        """Return the collector of that name, made and registered at the first call."""

        def registered() -> C:
            made = make()
            self.registry.register(made)
            return made

        return self._once(name, make, registered)

    def _once(self, name: str, shape: object, make: Callable[[], C]) -> C:
        found = self._made.get(name)
        if found is None:
            found = self._made[name] = (shape, make())
        elif found[0] != shape:
            raise ValueError(f"metric {name} is already another metric")
        return cast("C", found[1])


@cache
def metrics() -> MetricsCollector:
    """Return the metrics of this process."""
    return MetricsCollector(REGISTRY)


def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
    """Return this process's counter; see :meth:`MetricsCollector.counter`."""
    return metrics().counter(name, text, labels)


def gauge(name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
    """Return this process's gauge; see :meth:`MetricsCollector.gauge`."""
    return metrics().gauge(name, text, labels)


def histogram(
    name: str, text: str, labels: Sequence[str] = (), buckets: Sequence[float] = Histogram.DEFAULT_BUCKETS
) -> Histogram:
    """Return this process's histogram; see :meth:`MetricsCollector.histogram`."""
    return metrics().histogram(name, text, labels, buckets)


def collector(name: str, make: Callable[[], C]) -> C:
    """Return this process's collector; see :meth:`MetricsCollector.collector`."""
    return metrics().collector(name, make)
