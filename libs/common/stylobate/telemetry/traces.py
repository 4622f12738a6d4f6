"""OpenTelemetry spans, made only for traces that are sampled.

The decision stands in the traceparent, so an unsampled request pays for a look at one character, not for an object.
Spans are not put into OpenTelemetry's context: :attr:`Span.traceparent` is handed on where work continues. Each service has
a resource of its own (``service.name``), also where several share a process; all spans of a process leave by one exporter.
"""

import threading
from types import TracebackType
from typing import Self

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, Tracer

from stylobate.telemetry.traceparent import is_sampled

Value = str | bool | int | float

_NOTHING = Context()
_CLOSE_S = 1.0


class Traces:
    """The tracing of this process; :func:`configure` makes it, :meth:`close` sends what is left."""

    def __init__(self, node: str, version: str, processor: SpanProcessor | None, ratio: float) -> None:
        self._node = node
        self._version = version
        self._processor = processor
        self._tracers: dict[str, Tracer] = {}
        self.ratio = ratio
        """How many new traces are sampled: 0 when they would go nowhere."""

    def tracer(self, service: str) -> Tracer | None:
        """Return what makes the spans of a service; None when they would go nowhere."""
        if self._processor is None:
            return None
        found = self._tracers.get(service)
        if found is None:
            resource = Resource.create({
                "service.name": service,
                "service.namespace": "stylobate",
                "service.instance.id": self._node,
                "service.version": self._version,
            })  # fmt: skip
            provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
            provider.add_span_processor(self._processor)
            found = self._tracers[service] = provider.get_tracer("stylobate", self._version)
        return found

    def close(self) -> None:
        """Send what is left and stop. Blocks for at most a second: a collector that is away keeps nobody from stopping."""
        if self._processor is not None:
            sending = threading.Thread(target=self._processor.shutdown, name="last-spans", daemon=True)
            sending.start()
            sending.join(_CLOSE_S)
            self._processor = None


_active = Traces("", "", None, 0.0)


def prepare() -> None:
    """Import what sending takes: before a fork, for processes whose settings name a collector."""
    import opentelemetry.exporter.otlp.proto.grpc.trace_exporter  # noqa: F401, PLC0415  takes long, and most send no traces


def configure(
    node: str, endpoint: str = "", ratio: float = 0.0, *, version: str = "", exporter: SpanExporter | None = None
) -> Traces:
    """Set up the traces of this process.

    :param node: the name of this process (``service.instance.id``).
    :param endpoint: an OTLP collector for gRPC, ``http://host:4317`` or ``https://…``; empty: no spans are made.
    :param ratio: the share of new traces that is sampled, 0 to 1; a trace that came sampled is followed in any case.
    :param exporter: what takes the spans where no collector does.
    """
    global _active  # noqa: PLW0603  a process has one tracing, as it has one log
    if endpoint:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  see prepare

        exporter = OTLPSpanExporter(endpoint=endpoint, insecure=not endpoint.startswith("https://"))
    processor = BatchSpanProcessor(exporter) if exporter is not None else None
    _active = Traces(node, version, processor, ratio if processor is not None else 0.0)
    return _active


class Span:
    """A piece of work in a trace. Use as a context manager; leaving it by an exception marks it as failed."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, traceparent: str, sdk: trace.Span = trace.INVALID_SPAN) -> None:
        self.traceparent = traceparent
        """What work under this span takes as its parent."""
        self._span = sdk  # the invalid one takes everything and keeps nothing

    def set(self, key: str, value: Value) -> None:
        """Set an attribute; nothing when the trace is not sampled."""
        self._span.set_attribute(key, value)

    def rename(self, name: str) -> None:
        """Give it the name that was not known when it began."""
        self._span.update_name(name)

    def fail(self, reason: str) -> None:
        """Mark the work as failed (``error.type``)."""
        self._span.set_attribute("error.type", reason)
        self._span.set_status(Status(StatusCode.ERROR, reason))

    def end(self) -> None:
        """End it, where it is not used as a context manager."""
        self._span.end()

    def __enter__(self) -> Self:
        """Return the span."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """End the span."""
        if kind is not None:
            self.fail(kind.__name__)
        self.end()


def span(service: str, name: str, traceparent: str, *, kind: SpanKind = SpanKind.INTERNAL, **attributes: Value) -> Span:
    """Begin a span of a service under the traceparent; no SDK object is made unless the trace is sampled.

    :param attributes: by OpenTelemetry's names, ``__`` standing for the dot.
    """
    tracer = _active.tracer(service) if is_sampled(traceparent) else None
    if tracer is None:
        return Span(traceparent)
    parent = SpanContext(
        trace_id=int(traceparent[3:35], 16),
        span_id=int(traceparent[36:52], 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
    above = trace.set_span_in_context(NonRecordingSpan(parent), _NOTHING)
    named = {key.replace("__", "."): value for key, value in attributes.items()}
    made = tracer.start_span(name, context=above, kind=kind, attributes=named)
    return Span(f"{traceparent[:36]}{made.get_span_context().span_id:016x}-01", made)
