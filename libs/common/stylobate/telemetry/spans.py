"""What becomes of sampled spans: objects of OpenTelemetry's SDK, which leave the process by its exporter.

Imported where a process sends traces. Most send none, and the SDK takes 2 MB.
"""

from pathlib import Path
from time import time_ns

import grpc
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSET = Status(StatusCode.UNSET)


class Spans:
    """The spans of this process on their way to what takes them.

    :param node: the name of this process (``service.instance.id``). :param version: of the platform.
    """

    def __init__(self, node: str, version: str, exporter: SpanExporter) -> None:
        self._node = node
        self._version = version
        self._processor = BatchSpanProcessor(exporter)
        self._sources: dict[str, Source] = {}

    def source(self, service: str) -> "Source":
        """Return what takes the spans of a service."""
        found = self._sources.get(service)
        if found is None:
            resource = Resource.create({
                "service.name": service,
                "service.namespace": "stylobate",
                "service.instance.id": self._node,
                "service.version": self._version,
            })  # fmt: skip
            found = self._sources[service] = Source(resource, InstrumentationScope("stylobate", self._version), self._processor)
        return found

    def close(self) -> None:
        """Send what is left and stop. Blocks for as long as that takes."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]


class Source:
    """Where the spans of a service come from."""

    __slots__ = ("_processor", "_resource", "_scope")

    def __init__(self, resource: Resource, scope: InstrumentationScope, processor: SpanProcessor) -> None:
        self._resource = resource
        self._scope = scope
        self._processor = processor

    def take(
        self,
        name: str,
        kind: int,
        attributes: dict[str, str | bool | int | float],
        *,
        parent: str,
        made: str,
        failed: str,
        begun: int,
    ) -> None:
        """Take a span that ends now.

        :param parent: the traceparent that it is below. :param made: its own. :param failed: why; empty: it did not fail.
        :param begun: in nanoseconds since the epoch.
        """
        trace_id = int(made[3:35], 16)
        ended = ReadableSpan(
            name,
            SpanContext(trace_id, int(made[36:52], 16), is_remote=False, trace_flags=_SAMPLED),
            SpanContext(trace_id, int(parent[36:52], 16), is_remote=True, trace_flags=_SAMPLED),
            self._resource,
            attributes,
            kind=SpanKind(kind),
            status=Status(StatusCode.ERROR, failed) if failed else _UNSET,
            start_time=begun,
            end_time=time_ns(),
            instrumentation_scope=self._scope,
        )
        self._processor.on_end(ended)


def exporter_to(endpoint: str, authority: str) -> SpanExporter:
    """Return what sends to a collector; see :func:`stylobate.telemetry.traces.configure`."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  takes long; see prepare

    if endpoint.startswith("https://"):
        trusted = grpc.ssl_channel_credentials(Path(authority).read_bytes() if authority else None)
        return OTLPSpanExporter(endpoint=endpoint, credentials=trusted)
    return OTLPSpanExporter(endpoint=endpoint, insecure=True)
