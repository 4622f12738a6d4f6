"""What a process tells of itself: Prometheus metrics from one registry, and W3C traces."""

from opentelemetry.trace import SpanKind
from prometheus_client import REGISTRY

from stylobate.telemetry.metrics import MetricsCollector, collector, counter, counts, gauge, histogram, spreads
from stylobate.telemetry.traceparent import child_of, decided, is_sampled, is_traceparent, new_traceparent, trace_of
from stylobate.telemetry.traces import Span, Traces, configure, prepare, span

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
