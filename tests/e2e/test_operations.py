"""What operators reach: the admin listener, gRPC health and reflection, and the commands beside `up`."""

import json
from datetime import timedelta

import grpc
import httpx
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from stylobate.api.auth.v1.auth_service_pb2 import CreateUserRequest, GetMeRequest
from stylobate.api.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from stylobate.api.realtime.v1.realtime_service_pb2 import PublishRequest
from stylobate.api.realtime.v1.realtime_service_pb2_grpc import RealtimeServiceStub
from stylobate.services import installed_services
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.until import wait_until

from tests.people import PASSWORD, Person

SERVICES = set(installed_services())
GRPC_SERVICES = {
    "stylobate.api.auth.v1.AuthService",
    "stylobate.api.auth.v1.TokenService",
    "stylobate.api.auth.v1.AccessService",
    "stylobate.api.ratelimit.v1.RateLimitService",
    "stylobate.api.state.v1.StateService",
    "stylobate.api.actions.v1.ActionService",
    "stylobate.api.actions.v1.ModuleService",
    "stylobate.api.realtime.v1.RealtimeService",
    "stylobate.api.events.v1.EventService",
}


@pytest.fixture
def channel(platform):
    """Give a plain channel to the gRPC port."""
    with grpc.insecure_channel(platform.grpc["auth"]) as opened:
        yield opened


def _reflect(channel, **request):
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    return next(iter(stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**request)]))))


def test_grpc_health_is_serving(channel):
    """The standard health service says SERVING for the whole, as probes ask it."""
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_grpc_reflection_lists_every_service(channel):
    """In development any gRPC client learns services and messages from the port itself."""
    listed = {service.name for service in _reflect(channel, list_services="").list_services_response.service}
    assert listed >= GRPC_SERVICES
    described = _reflect(channel, file_containing_symbol="stylobate.api.state.v1.StateService").file_descriptor_response
    files = [descriptor_pb2.FileDescriptorProto.FromString(file) for file in described.file_descriptor_proto]
    methods = {method.name for file in files for service in file.service for method in service.method}
    assert {"GetState", "PutState", "TransitionState", "ListHistory"} <= methods


def test_grpc_port_asks_for_tokens(channel, person):
    """A user's bearer token works on the gRPC port too; without one, and for what is for services only, the port refuses."""
    stub = AuthServiceStub(channel)
    ada = person()
    me = stub.GetMe(GetMeRequest(), metadata=[("authorization", f"Bearer {ada.token}")], timeout=60)
    assert me.user.email == ada.email
    with pytest.raises(grpc.RpcError) as refused:
        stub.GetMe(GetMeRequest(), timeout=60)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    for call, request in (
        (RealtimeServiceStub(channel).Publish, PublishRequest(channel="orders:1", data=b"{}")),
        (stub.CreateUser, CreateUserRequest(email="eve@example.com", password=PASSWORD, roles=["admin"])),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            call(request, metadata=[("authorization", f"Bearer {ada.token}")], timeout=60)
        assert refused.value.code() in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)


def test_admin_listener_answers_operators(platform):
    """Liveness, readiness with each service's checks, and metrics; unknown paths are 404."""
    with httpx.Client(base_url=platform.endpoints["admin"], verify=NO_TLS) as admin:
        assert admin.get("/healthz").json() == {"status": "alive"}
        ready = admin.get("/readyz")
        assert (ready.status_code, ready.json()["status"], ready.json()["ready"]) == (200, "healthy", True)
        assert set(ready.json()["services"]) == SERVICES
        assert {"database", "relay"} <= set(ready.json()["services"]["state"]["dependencies"])
        metrics = admin.get("/metrics").text
        for name in ("stylobate_http_requests_total", "stylobate_http_request_seconds", "stylobate_realtime_connections"):
            assert name in metrics
        assert admin.get("/nothing").status_code == 404


def test_log_levels_change_at_run_time(platform, person):
    """An operator turns the access log off and on while the platform runs; an unknown level is refused."""
    ada = person()

    def logged(name: str) -> bool:
        return any(name in file.read_text() for file in platform.log_files())

    with httpx.Client(base_url=platform.endpoints["admin"], verify=NO_TLS) as admin:
        before = admin.get("/log-levels").json()
        assert admin.put("/log-levels", json={"access": "warning"}).json()["access"] == "warning"
        ada.http.get("/v1/auth/me", headers={"x-request-id": "unheard"})
        assert admin.put("/log-levels", json={"access": before["access"]}).json() == before
        assert admin.put("/log-levels", json={"access": "loud"}).status_code == 422
        assert admin.put("/log-levels", json={"nothing": "info"}).status_code == 422
    ada.http.get("/v1/auth/me", headers={"x-request-id": "heard"})
    assert wait_until(lambda: logged("heard"), timedelta(seconds=30))
    assert not logged("unheard")


def test_administrator_ships_an_order(platform, person):
    """`users create --admin` makes an account that may do what users may not: read, ship and list everyone's orders."""
    ada = person()
    order = ada.order()
    assert ada.act("shop.pay_order", {"order_id": order}).status_code == 200
    with Person(platform.gateway, "root") as admin:
        made = platform.command("users", "create", admin.email, "--admin", "--password-stdin", stdin=f"{PASSWORD}\n")
        assert made.returncode == 0, made.stderr
        assert "user" in made.stdout
        admin.login()
        assert order in [item["key"] for item in admin.http.get("/v1/state/orders?status=paid&page_size=500").json()["items"]]
        shipped = admin.act("shop.ship_order", {"order_id": order})
        assert (shipped.status_code, shipped.json()["status"]) == (200, "shipped")
    history = ada.http.get(f"/v1/state/orders/{order}/history").json()["items"]
    assert [(entry["event"], entry["actor"]) for entry in history] == [("ship", admin.id), ("pay", ada.id), (None, ada.id)]


def test_users_create_refuses_what_cannot_be(platform, person):
    """An address that is taken and a role that does not exist are one clear line each."""
    ada = person()
    for arguments in ((ada.email,), ("new@example.com", "--role", "emperor"), ("no address",)):
        done = platform.command("users", "create", *arguments, "--password-stdin", stdin=f"{PASSWORD}\n")
        assert done.returncode == 2, done.stdout
        assert done.stderr.startswith("error: ")
        assert "Traceback" not in done.stderr


def test_status_tells_people_and_programs(platform):
    """`status` exits 0 when all are ready; `--json` lists endpoints, children and every service."""
    shown = platform.command("status")
    assert (shown.returncode, "one process" in shown.stdout) == (0, True)
    told = json.loads(platform.command("status", "--json").stdout)
    assert (told["ready"], told["status"], told["pid"]) == (True, "healthy", platform.pid)
    assert {"gateway", "realtime", "grpc", "admin", "docs"} <= set(told["endpoints"])
    assert {child["name"] for child in told["children"]} == {"valkey", "postgres"}
    assert set(told["services"]) == SERVICES


def test_logs_and_schema_can_be_looked_at(platform):
    """`logs` prints lines of the platform; `db status` finds no pending migration; `modules check` finds nothing."""
    assert "ready" in platform.command("logs", "-n", "1000").stdout
    assert platform.command("modules", "check").returncode == 0
    assert "shop" in platform.command("modules", "list").stdout
    assert platform.command("version").stdout.strip()
