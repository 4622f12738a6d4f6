"""One request, one trace: from the client's header through every service that has a part in it, to the push that it causes."""

import asyncio
import secrets
import threading
from collections.abc import Iterator
from concurrent import futures
from datetime import timedelta
from functools import partial
from typing import Any

import grpc
import httpx
import pytest
from centrifuge import Client, PublicationContext, SubscriptionEventHandler
from centrifuge.types import Publication
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform
from stylobate.testing.until import wait_until

from tests.conftest import SHOP
from tests.people import Person

WITHIN = timedelta(seconds=30)


class Collector(TraceServiceServicer):
    """Takes spans as an OpenTelemetry collector does, and keeps them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: list[tuple[str, Any]] = []

    def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:  # noqa: N802  gRPC's name
        """Keep what arrives."""
        with self._lock:
            for resource in request.resource_spans:
                named = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
                self._spans += [(named["service.name"], span) for scope in resource.scope_spans for span in scope.spans]
        return ExportTraceServiceResponse()

    def spans(self, trace: str = "") -> list[tuple[str, Any]]:
        """Return service and span of everything, or of one trace."""
        with self._lock:
            return [(service, span) for service, span in self._spans if trace in {"", span.trace_id.hex()}]


@pytest.fixture(scope="module")
def collector() -> Iterator[tuple[Collector, str]]:
    """Give a collector and its address."""
    made = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(made, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield made, f"http://127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture(scope="module", params=[(), ("--split",)], ids=["one process", "split"])
def platform(request, tmp_path_factory, collector) -> Iterator[Platform]:
    """Give a platform that samples everything."""
    environ = {"STYLOBATE_TRACE_ENDPOINT": collector[1], "STYLOBATE_TRACE_RATIO": "1", "OTEL_BSP_SCHEDULE_DELAY": "200"}
    with Platform.run(tmp_path_factory.mktemp("traces"), *request.param, modules=[SHOP], environ=environ) as running:
        yield running


@pytest.fixture
def ada(platform) -> Iterator[Person]:
    """Give somebody whose rights nobody has asked for yet."""
    with Person(platform.gateway) as ada:
        yield ada.register()


def _header() -> tuple[str, str, str]:
    """Return a traceparent that does not ask to be sampled, its trace and its span."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return f"00-{trace}-{span}-00", trace, span


def test_one_request_is_one_tree(ada, collector):
    """Gateway, ratelimit, auth, actions, state, the hook and its publication hang together under the client's span."""
    spans = collector[0].spans
    header, trace, client_span = _header()
    answer = ada.http.post(
        "/v1/actions/shop.place_order", json={"items": [{"sku": "tea", "quantity": 1}]}, headers={"traceparent": header}
    )
    assert answer.status_code == 200
    wanted = {
        ("gateway", "POST /v1/actions/shop.place_order"),
        ("ratelimit", "stylobate.api.ratelimit.v1.RateLimitService/CheckLimits"),
        ("auth", "stylobate.api.auth.v1.AccessService/CheckAccess"),
        ("actions", "stylobate.api.actions.v1.ActionService/ExecuteAction"),
        ("state", "stylobate.api.state.v1.StateService/PutState"),
        ("realtime", "stylobate.api.realtime.v1.RealtimeService/Publish"),
    }

    def found() -> set[tuple[str, str]]:
        return {(service, span.name) for service, span in spans(trace)}

    assert wait_until(lambda: wanted <= found() and any(name.startswith("hook ") for _, name in found()), WITHIN), found()
    inside = {span.span_id for _, span in spans(trace)}
    roots = [span for _, span in spans(trace) if span.parent_span_id not in inside]
    assert [(span.name, span.parent_span_id.hex()) for span in roots] == [("POST /v1/actions/shop.place_order", client_span)]
    by_name = {span.name: span for _, span in spans(trace)}
    publish = by_name["stylobate.api.realtime.v1.RealtimeService/Publish"]
    assert next(span.name for _, span in spans(trace) if span.span_id == publish.parent_span_id).startswith("hook ")


async def test_the_push_carries_the_trace(platform, ada, collector):
    """What a subscriber is pushed names the trace of the request that caused it, and the span that published it."""
    order = ada.order()
    header, trace, _ = _header()
    pushed: asyncio.Queue[Publication] = asyncio.Queue()

    class Events(SubscriptionEventHandler):
        async def on_publication(self, ctx: PublicationContext) -> None:
            pushed.put_nowait(ctx.pub)

    socket = Client(platform.realtime, token=ada.token)
    await socket.connect()
    subscription = socket.new_subscription(f"orders:{order}", events=Events())
    await subscription.subscribe()
    await subscription.ready(timeout=30)
    paying = partial(ada.http.post, "/v1/actions/shop.pay_order", json={"order_id": order}, headers={"traceparent": header})
    assert (await asyncio.to_thread(paying)).status_code == 200
    async with asyncio.timeout(30):
        while not (told := (await pushed.get()).tags.get("traceparent", "")).startswith(
            f"00-{trace}-"
        ):  # else of the order's begin
            pass
    await socket.disconnect()
    wanted = {
        ("gateway", "POST /v1/actions/shop.pay_order"),
        ("actions", "stylobate.api.actions.v1.ActionService/ExecuteAction"),
        ("state", "stylobate.api.state.v1.StateService/TransitionState"),
        ("realtime", "stylobate.api.realtime.v1.RealtimeService/Publish"),
    }
    spans = collector[0].spans
    assert await asyncio.to_thread(wait_until, lambda: wanted <= {(service, span.name) for service, span in spans(trace)}, WITHIN)
    published = {span.span_id.hex() for service, span in spans(trace) if service == "realtime"}
    assert told[36:52] in published


def test_metrics_name_a_trace(platform, ada):
    """In OpenMetrics, buckets of requests, calls of services, actions and hooks have a trace to look at; the text has none."""
    header, trace, _ = _header()
    order = {"items": [{"sku": "tea", "quantity": 1}]}
    assert ada.http.post("/v1/actions/shop.place_order", json=order, headers={"traceparent": header}).status_code == 200
    asked = {"accept": "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"}

    def metrics(**headers: str) -> httpx.Response:
        return httpx.get(f"{platform.endpoints['admin']}/metrics", headers=headers, timeout=30, verify=NO_TLS)

    found = metrics(**asked)
    assert found.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")

    def told() -> set[tuple[str, str]]:
        return {
            (family.name, value)
            for family in text_string_to_metric_families(metrics(**asked).text)
            for sample in family.samples
            if sample.exemplar and sample.exemplar.labels["trace_id"] == trace
            for label, value in sample.labels.items()
            if label in {"route", "method", "action", "hook"}
        }

    wanted = {
        ("stylobate_http_request_seconds", "/v1/actions/shop.place_order"),
        ("stylobate_rpc_server_duration_seconds", "/stylobate.api.actions.v1.ActionService/ExecuteAction"),
        ("stylobate_rpc_server_duration_seconds", "/stylobate.api.state.v1.StateService/PutState"),
        ("stylobate_actions_seconds", "shop.place_order"),
    }
    wait_until(lambda: wanted <= told() and any(name == "stylobate_actions_hook_seconds" for name, _ in told()), WITHIN)
    plain = metrics()
    assert plain.headers["content-type"].startswith("text/plain")
    assert trace not in plain.text


def test_what_a_client_did_wrong_is_no_error(ada, collector):
    """401, 404, 409, 422: the spans say so and none of them is marked as failed."""
    spans = collector[0].spans
    order = ada.order()
    assert ada.act("shop.pay_order", {"order_id": order}).status_code == 200
    for path, body, status in (
        ("/v1/actions/shop.pay_order", {"order_id": order}, 409),
        ("/v1/actions/shop.place_order", {"items": []}, 422),
        ("/v1/actions/shop.nothing", {}, 404),
    ):
        header, trace, _ = _header()
        assert ada.http.post(path, json=body, headers={"traceparent": header}).status_code == status
        assert wait_until(lambda trace=trace: any(service == "gateway" for service, _ in spans(trace)), WITHIN)
        gateway = next(span for service, span in spans(trace) if service == "gateway")
        told = {pair.key: pair.value for pair in gateway.attributes}
        assert told["http.response.status_code"].int_value == status
        assert [span.name for _, span in spans(trace) if span.status.code == Status.STATUS_CODE_ERROR] == []


def test_what_services_do_by_themselves_is_not_traced(ada, collector):
    """Polls and feeds make no spans."""
    ada.order()
    assert wait_until(lambda: bool(collector[0].spans()), WITHIN)
    names = {span.name.rpartition("/")[2] for _, span in collector[0].spans()}
    assert names.isdisjoint({"ListRevocations", "WatchRevocations", "GetJwks", "ReadEvents", "ListActions"})
