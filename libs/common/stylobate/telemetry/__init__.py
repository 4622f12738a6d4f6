"""What a process tells of itself: Prometheus metrics from one registry, and W3C traces."""

from stylobate.imports import on_demand

with on_demand("prometheus_client", "values", "process_collector", "platform_collector", "gc_collector"):
    # else with servers of its own, and clients of others: 1 MB
    from prometheus_client.registry import REGISTRY

    from stylobate.telemetry.metrics import MetricsCollector, collector, counter, counts, gauge, histogram, spreads
from stylobate.telemetry.traceparent import child_of, decided, is_sampled, is_traceparent, new_traceparent, trace_of
from stylobate.telemetry.traces import Span, SpanKind, Traces, configure, prepare, span

__all__ = [
    "REGISTRY",
    "MetricsCollector",
    "Span",
    "SpanKind",
    "Traces",
    "child_of",
    "collector",
    "configure",
    "counter",
    "counts",
    "decided",
    "gauge",
    "histogram",
    "is_sampled",
    "is_traceparent",
    "new_traceparent",
    "prepare",
    "span",
    "spreads",
    "trace_of",
]
