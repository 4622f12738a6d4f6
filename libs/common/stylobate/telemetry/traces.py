"""OpenTelemetry spans, made only for traces that are sampled.

The decision stands in the traceparent, so an unsampled request pays for a look at one character, not for an object.
Spans are not put into OpenTelemetry's context: :attr:`Span.traceparent` is handed on where work continues. Each service has
a resource of its own (``service.name``), also where several share a process; all spans of a process leave by one exporter.
"""

import threading
from enum import IntEnum
from time import time_ns
from types import TracebackType
from typing import TYPE_CHECKING, Self

from stylobate.telemetry.traceparent import child_of, is_sampled

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from stylobate.telemetry.spans import Source, Spans

Value = str | bool | int | float
_CLOSE_S = 1.0


class SpanKind(IntEnum):
    """What the work of a span is to others, by OpenTelemetry's numbers."""

    INTERNAL = 0
    SERVER = 1
    CLIENT = 2
    PRODUCER = 3
    CONSUMER = 4


class Traces:
    """The tracing of this process; :func:`configure` makes it, :meth:`close` sends what is left."""

    def __init__(self, spans: "Spans | None", ratio: float) -> None:
        self._spans = spans
        self.ratio = ratio
        """How many new traces are sampled: 0 when they would go nowhere."""

    def source(self, service: str) -> "Source | None":
        """Return what the spans of a service come from; None when they would go nowhere."""
        return None if self._spans is None else self._spans.source(service)

    def close(self) -> None:
        """Send what is left and stop. Blocks for at most a second: a collector that is away keeps nobody from stopping."""
        if self._spans is not None:
            sending = threading.Thread(target=self._spans.close, name="last-spans", daemon=True)
            sending.start()
            sending.join(_CLOSE_S)
            self._spans = None


_active = Traces(None, 0.0)


def prepare() -> None:
    """Import what sending takes: before a fork, for processes whose settings name a collector."""
    import opentelemetry.exporter.otlp.proto.grpc.trace_exporter  # noqa: F401, PLC0415  takes long, and most send no traces


def configure(
    node: str,
    endpoint: str = "",
    ratio: float = 0.0,
    *,
    version: str = "",
    authority: str = "",
    exporter: "SpanExporter | None" = None,
) -> Traces:
    """Set up the traces of this process.

    :param node: the name of this process (``service.instance.id``).
    :param endpoint: an OTLP collector for gRPC, ``http://host:4317`` or ``https://…``; empty: no spans are made.
    :param ratio: the share of new traces that is sampled, 0 to 1; a trace that came sampled is followed in any case.
    :param authority: file of the certificates that an ``https://`` collector's own is held against; empty: those of the machine.
    :param exporter: what takes the spans where no collector does.
    """
    global _active  # noqa: PLW0603  a process has one tracing, as it has one log
    if not endpoint and exporter is None:
        _active = Traces(None, 0.0)
        return _active
    from stylobate.telemetry.spans import Spans, exporter_to  # noqa: PLC0415  the SDK, for those alone who send

    _active = Traces(Spans(node, version, exporter or exporter_to(endpoint, authority)), ratio)
    return _active


class Span:
    """A piece of work in a trace. Use as a context manager; leaving it by an exception marks it as failed.

    Until it ends it is what its maker says of it, and then one object of OpenTelemetry's: its tracers make several, with locks.
    """

    __slots__ = ("_attributes", "_begun", "_failed", "_kind", "_name", "_parent", "_source", "traceparent")

    def __init__(
        self,
        traceparent: str,
        source: "Source | None" = None,
        name: str = "",
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: dict[str, Value] | None = None,
    ) -> None:
        """Begin below the traceparent; without a source nothing is kept."""
        self.traceparent = traceparent if source is None else child_of(traceparent)
        """What work under this span takes as its parent."""
        self._source = source
        self._parent = traceparent
        self._name = name
        self._kind = kind
        self._attributes = {} if attributes is None else attributes
        self._failed = ""
        self._begun = time_ns() if source is not None else 0

    def set(self, key: str, value: Value) -> None:
        """Set an attribute; nothing when the trace is not sampled."""
        self._attributes[key] = value

    def rename(self, name: str) -> None:
        """Give it the name that was not known when it began."""
        self._name = name

    def fail(self, reason: str) -> None:
        """Mark the work as failed (``error.type``)."""
        self._attributes["error.type"] = reason
        self._failed = reason

    def end(self) -> None:
        """End it, where it is not used as a context manager."""
        source, self._source = self._source, None
        if source is not None:
            source.take(
                self._name,
                self._kind,
                self._attributes,
                parent=self._parent,
                made=self.traceparent,
                failed=self._failed,
                begun=self._begun,
            )

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
    source = _active.source(service) if is_sampled(traceparent) else None
    if source is None:
        return Span(traceparent)
    return Span(traceparent, source, name, kind, {key.replace("__", "."): value for key, value in attributes.items()})
