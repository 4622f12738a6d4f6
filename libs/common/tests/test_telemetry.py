"""Metrics by name, traces by flag."""

import asyncio
import socket
import sys
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from prometheus_client import CollectorRegistry, generate_latest
from stylobate.rpc.interceptors import RpcMetrics
from stylobate.telemetry import (
    MetricsCollector,
    child_of,
    configure,
    decided,
    is_sampled,
    is_traceparent,
    new_traceparent,
    span,
    trace_of,
)
from stylobate.testing.authority import Authority

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

_SCRIPT = f"""
import sys
from stylobate.telemetry import configure, span
traces = configure("node-1", sys.argv[1], ratio=0.25, version="1.2.3", authority=sys.argv[2])
assert traces.ratio == 0.25
with span("shop", "outer", "{TRACE}", shop__order="42") as outer:
    with span("store", "inner", outer.traceparent) as inner:
        inner.fail("SHOP_OUT_OF_STOCK")
try:
    with span("shop", "raising", outer.traceparent):
        raise ValueError("text")
except ValueError:
    pass
with span("shop", "unsampled", "{TRACE[:-1]}0"):
    pass
traces.close()
"""

_TIMED = """
from time import monotonic
begun = monotonic()
traces.close()
assert monotonic() - begun < 6  # without a bound it is seven and more
"""


class _Collector(TraceServiceServicer):
    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []

    def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:  # noqa: N802  gRPC's name
        """Keep what arrives."""
        self.requests.append(request)
        return ExportTraceServiceResponse()


@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])
async def test_spans_reach_a_collector_with_their_parents(is_secure: bool, tmp_path: Path):
    """A process sends the spans of sampled traces, under the parent that the header names, and no others; over TLS as well."""
    collector = _Collector()
    server = grpc.server(futures.ThreadPoolExecutor(1))
    add_TraceServiceServicer_to_server(collector, server)
    authority = Authority(tmp_path)
    certificate, key = authority.issue("collector")
    tls = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    port = server.add_secure_port("127.0.0.1:0", tls) if is_secure else server.add_insecure_port("127.0.0.1:0")
    server.start()
    address = f"http{'s' * is_secure}://127.0.0.1:{port}"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _SCRIPT, address, str(authority.file) * is_secure)
    assert await asyncio.wait_for(process.wait(), 30) == 0
    server.stop(None).wait()
    resources = [resource for request in collector.requests for resource in request.resource_spans]
    spans = {made.name: made for resource in resources for scope in resource.scope_spans for made in scope.spans}
    assert sorted(spans) == ["inner", "outer", "raising"]
    assert {made.trace_id.hex() for made in spans.values()} == {TRACE[3:35]}
    assert spans["outer"].parent_span_id.hex() == TRACE[36:52]
    assert spans["inner"].parent_span_id == spans["outer"].span_id
    assert [(pair.key, pair.value.string_value) for pair in spans["outer"].attributes] == [("shop.order", "42")]
    assert spans["inner"].status.message == "SHOP_OUT_OF_STOCK"
    assert spans["raising"].status.message == "ValueError"
    named = {
        made.name: {pair.key: pair.value.string_value for pair in resource.resource.attributes}
        for resource in resources
        for scope in resource.scope_spans
        for made in scope.spans
    }
    assert {name: found["service.name"] for name, found in named.items()} == {
        "outer": "shop",
        "inner": "store",
        "raising": "shop",
    }
    assert {found["service.instance.id"] for found in named.values()} == {"node-1"}
    assert {found["service.version"] for found in named.values()} == {"1.2.3"}


def test_without_a_collector_nothing_is_sampled():
    """Without an endpoint new traces are not sampled, whatever the ratio, and a span is nothing but its traceparent."""
    traces = configure("shop", "", ratio=1.0)
    assert traces.ratio == 0.0
    traces.close()
    with span("shop", "nothing", TRACE[:-1] + "0", key=1) as opened:
        opened.set("key", 2)
        opened.fail("no one hears")
        assert opened.traceparent == TRACE[:-1] + "0"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TRACE, True),
        ("01" + TRACE[2:], True),
        ("ff" + TRACE[2:], False),
        (TRACE.upper(), False),
        (TRACE + "-extra", False),
        (TRACE[:-1], False),
        (TRACE.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32), False),
        (TRACE.replace("b7ad6b7169203331", "0" * 16), False),
        ("", False),
    ],
)
def test_form_of_a_traceparent(text: str, expected: bool):
    """Only what the standard calls a traceparent is handed on."""
    assert is_traceparent(text) is expected


def test_new_traces():
    """A new trace is well formed, its own, and sampled as often as asked."""
    made = [new_traceparent(ratio) for ratio in (0.0, 1.0) for _ in range(50)]
    assert all(map(is_traceparent, made))
    assert len({text[3:35] for text in made}) == 100
    assert [is_sampled(text) for text in made] == [False] * 50 + [True] * 50
    assert 0 < sum(is_sampled(new_traceparent(0.5)) for _ in range(200)) < 200


def test_decided_anew():
    """The trace stays, the flag does not: whoever sent it has no say in it."""
    for text in (TRACE, TRACE[:-1] + "0"):
        assert decided(text, 1.0) == TRACE
        assert decided(text, 0.0) == TRACE[:-1] + "0"


def test_what_serves_many_belongs_to_the_first_sampled():
    """A batch's call is part of one of the traces that it serves, or of none."""
    assert trace_of(["", TRACE, child_of(TRACE)]) == (("traceparent", TRACE),)
    assert trace_of(["", ""]) == ()


async def test_a_collector_that_is_away_keeps_nobody_from_stopping():
    """With spans that cannot be sent a process ends all the same, in good order."""
    with socket.socket() as deaf:  # accepts connections, and says nothing
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        where = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", _SCRIPT.replace("traces.close()", _TIMED), where, "")
        assert await asyncio.wait_for(process.wait(), 30) == 0


def test_child_of_a_trace():
    """A child keeps trace and flag and has a span id of its own."""
    child = child_of(TRACE)
    assert is_traceparent(child)
    assert (child[:36], child[52:]) == (TRACE[:36], TRACE[52:])
    assert child != TRACE


def test_sampled_is_the_last_bit():
    """The flag is a bit, not the number one; a malformed header is not sampled."""
    assert is_sampled(TRACE[:-2] + "03")
    assert not is_sampled(TRACE[:-2] + "02")
    assert not is_sampled("")
    assert not is_sampled("01")


def test_a_metric_is_made_once():
    """Asking again for a name gives the same metric, with the prefix; another kind or other labels are a defect."""
    metrics = MetricsCollector(CollectorRegistry())
    counter = metrics.counter("orders", "Orders placed.", ("status",))
    assert metrics.counter("orders", "Orders placed.", ["status"]) is counter
    counter.labels("paid").inc(2)
    metrics.gauge("sockets", "Open sockets.").set(7)
    metrics.histogram("wait_seconds", "Time waited.", buckets=(1, 2)).observe(1.5)
    text = generate_latest(metrics.registry).decode()
    assert 'stylobate_orders_total{status="paid"} 2.0' in text
    assert "stylobate_sockets 7.0" in text
    assert 'stylobate_wait_seconds_bucket{le="2.0"} 1.0' in text
    with pytest.raises(ValueError, match="orders"):
        metrics.gauge("orders", "Orders placed.")
    with pytest.raises(ValueError, match="orders"):
        metrics.counter("orders", "Orders placed.")


def test_a_collector_is_registered_once():
    """What counts by itself is asked at each scrape, and registered only once."""
    metrics = MetricsCollector(CollectorRegistry())
    first = metrics.collector("rpc", RpcMetrics)
    assert metrics.collector("rpc", RpcMetrics) is first
    first.of("/x.Y/Z").codes["OK"] = 3
    assert 'stylobate_rpc_server_calls_total{code="OK",method="/x.Y/Z"} 3.0' in generate_latest(metrics.registry).decode()
