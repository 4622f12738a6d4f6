"""OpenTelemetry spans, made only for traces that are sampled.

The decision stands in the traceparent, so an unsampled request pays for a look at one character, not for an object.
Spans are not put into OpenTelemetry's context: :attr:`Span.traceparent` is handed on where work continues.
"""

from functools import cache
from types import TracebackType
from typing import Self

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, Tracer

from stylobate.telemetry.traceparent import is_sampled

Value = str | bool | int | float

_NOTHING = Context()


class Traces:
    """The tracing of this process; :func:`configure` makes it, :meth:`close` sends what is left."""

    def __init__(self, provider: TracerProvider | None, ratio: float) -> None:
        self.provider = provider
        self.ratio = ratio
        """How many new traces are sampled: 0 when they would go nowhere."""

    def close(self) -> None:
        """Send what is left and stop. Blocks for as long as the collector takes, at most a few seconds."""
        if self.provider is not None:
            self.provider.shutdown()


def configure(service: str, endpoint: str = "", ratio: float = 0.0) -> Traces:
    """Set up the traces of this process, once.

    :param service: the name that spans are listed under.
    :param endpoint: an OTLP collector for gRPC, ``http://host:4317`` or ``https://…``; empty: no spans are made.
    :param ratio: the share of new traces that is sampled, 0 to 1; a trace that came sampled is followed in any case.
    """
    if not endpoint:
        return Traces(None, 0.0)
    provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource.create({"service.name": service}))
    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=not endpoint.startswith("https://"))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return Traces(provider, ratio)


class Span:
    """A piece of work in a trace. Use as a context manager; leaving it by an exception marks it as failed."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, traceparent: str, sdk: trace.Span | None) -> None:
        self.traceparent = traceparent
        """What work under this span takes as its parent."""
        self._span = sdk

    def set(self, key: str, value: Value) -> None:
        """Set an attribute; nothing when the trace is not sampled."""
        if self._span is not None:
            self._span.set_attribute(key, value)

    def fail(self, reason: str) -> None:
        """Mark the work as failed."""
        if self._span is not None:
            self._span.set_status(Status(StatusCode.ERROR, reason))

    def __enter__(self) -> Self:
        """Return the span."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """End the span."""
        if self._span is not None:
            if kind is not None:
                self.fail(kind.__name__)
            self._span.end()


def span(name: str, traceparent: str, *, kind: SpanKind = SpanKind.INTERNAL, **attributes: Value) -> Span:
    """Begin a span under the traceparent; no SDK object is made unless the trace is sampled."""
    if not is_sampled(traceparent):
        return Span(traceparent, None)
    parent = SpanContext(
        trace_id=int(traceparent[3:35], 16),
        span_id=int(traceparent[36:52], 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
    above = trace.set_span_in_context(NonRecordingSpan(parent), _NOTHING)
    made = _tracer().start_span(name, context=above, kind=kind, attributes=attributes)
    if not made.is_recording():
        return Span(traceparent, None)
    return Span(f"{traceparent[:36]}{made.get_span_context().span_id:016x}-01", made)


@cache
def _tracer() -> Tracer:
    return trace.get_tracer("stylobate")  # follows the provider that is set later
