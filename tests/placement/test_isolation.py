"""What belongs to somebody is not there for anybody else: whatever is asked, by HTTP, by gRPC, on a socket."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import httpx
import pytest
from stylobate.api.actions.v1.action_service_pb2 import ExecuteActionRequest
from stylobate.api.actions.v1.action_service_pb2_grpc import ActionServiceStub
from stylobate.api.actions.v1.module_service_pb2 import CallHookRequest, UpgradeStatesRequest
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub
from stylobate.api.events.v1.event_service_pb2 import ReadEventsRequest
from stylobate.api.events.v1.event_service_pb2_grpc import EventServiceStub
from stylobate.api.realtime.v1.realtime_service_pb2 import PublishRequest
from stylobate.api.realtime.v1.realtime_service_pb2_grpc import RealtimeServiceStub
from stylobate.api.state.v1 import state_service_pb2 as state
from stylobate.api.state.v1.state_service_pb2_grpc import StateServiceStub
from stylobate.ids import new_id
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform
from websockets.sync.client import ClientConnection, connect

from tests.people import Person

STATE = "/v1/state/orders"
OVER_HTTP: dict[str, tuple[str, str, Any]] = {
    "get": ("GET", f"{STATE}/KEY", None),
    "head": ("HEAD", f"{STATE}/KEY", None),
    "history": ("GET", f"{STATE}/KEY/history", None),
    "put": ("PUT", f"{STATE}/KEY", {"data": {}}),
    "patch": ("PATCH", f"{STATE}/KEY", {"total": 1}),
    "delete": ("DELETE", f"{STATE}/KEY", None),
    **{f"fire {event}": ("POST", f"{STATE}/KEY/transitions/{event}", {}) for event in ("pay", "ship", "cancel", "none")},
    **{f"act {name}": ("POST", f"/v1/actions/shop.{name}_order", {"order_id": "KEY"}) for name in ("pay", "ship", "cancel")},
}
OVER_GRPC: dict[str, Callable[[grpc.Channel, str, Any], Any]] = {
    "get": lambda c, key, how: StateServiceStub(c).GetState(state.GetStateRequest(keys=[_key(key)]), **how),
    "put": lambda c, key, how: StateServiceStub(c).PutState(state.PutStateRequest(**_named(key), data=b"{}"), **how),
    "patch": lambda c, key, how: StateServiceStub(c).PatchState(state.PatchStateRequest(**_named(key), patch=b"{}"), **how),
    "delete": lambda c, key, how: StateServiceStub(c).DeleteState(state.DeleteStateRequest(**_named(key)), **how),
    "pay": lambda c, key, how: StateServiceStub(c).TransitionState(
        state.TransitionStateRequest(**_named(key), event="pay"), **how
    ),
    "history": lambda c, key, how: StateServiceStub(c).ListHistory(state.ListHistoryRequest(**_named(key)), **how),
}
OF_SERVICES: dict[str, tuple[str, Callable[[grpc.Channel, Any], Any]]] = {
    "events": ("state", lambda c, how: next(EventServiceStub(c).ReadEvents(ReadEventsRequest(source="state"), **how))),
    "auth's events": ("auth", lambda c, how: next(EventServiceStub(c).ReadEvents(ReadEventsRequest(source="auth"), **how))),
    "a hook": ("actions", lambda c, how: ModuleServiceStub(c).CallHook(CallHookRequest(module="shop", hook="push"), **how)),
    "an upgrade": ("actions", lambda c, how: ModuleServiceStub(c).UpgradeStates(UpgradeStatesRequest(module="shop"), **how)),
    "publish": ("realtime", lambda c, how: RealtimeServiceStub(c).Publish(PublishRequest(channel="orders:1", data=b"1"), **how)),
}
ON_A_SOCKET: list[dict[str, Any]] = [
    {"subscribe": {"channel": "CHANNEL"}},
    {"subscribe": {"channel": "CHANNEL", "recover": True, "epoch": "x", "offset": 0}},
    {"presence": {"channel": "CHANNEL"}},
    {"presence_stats": {"channel": "CHANNEL"}},
    {"publish": {"channel": "CHANNEL", "data": {"forged": 1}}},
    {"history": {"channel": "CHANNEL", "limit": 10}},
]


def _key(key: str) -> state.StateKey:
    return state.StateKey(namespace="orders", key=key)


def _named(key: str) -> dict[str, str]:
    return {"namespace": "orders", "key": key}


@pytest.fixture
def ada(platform: Platform) -> Iterator[Person]:
    """Give the owner of an order."""
    with Person(platform.gateway) as ada:
        yield ada.register()


@pytest.fixture(params=["eve", "nobody"])
def stranger(request: pytest.FixtureRequest, platform: Platform) -> Iterator[Person]:
    """Give somebody else: with an account, and nobody known."""
    with Person(platform.gateway, "eve") as eve:
        yield eve.register() if request.param == "eve" else eve


def without(text: str, key: str) -> Any:
    """Return what an answer says, but for the key and what each request has of its own."""
    found = json.loads(text.replace(key, "KEY")) if text else {}
    return {name: value for name, value in found.items() if name != "request_id"}


def test_over_http_it_is_not_there(ada: Person, stranger: Person) -> None:
    """Each way to ask for it is answered as for an order that never was, and changes nothing; a list does not show it."""
    order, none = ada.order(), new_id()
    history = ada.http.get(f"{STATE}/{order}/history").json()
    for method, path, body in OVER_HTTP.values():
        told = []
        for key in (order, none):
            sent = None if body is None else json.loads(json.dumps(body).replace("KEY", key))
            answer: httpx.Response = stranger.http.request(method, path.replace("KEY", key), json=sent)
            assert answer.is_client_error, (method, path, answer.text)
            told.append((answer.status_code, without(answer.text, key)))
        assert told[0] == told[1], (method, path)
    assert order not in stranger.http.get(STATE, params={"page_size": 500}).text
    assert ada.http.get(f"{STATE}/{order}/history").json() == history
    assert order in ada.http.get(STATE, params={"page_size": 500}).text


def test_over_grpc_it_is_not_there(platform: Platform, ada: Person, stranger: Person) -> None:
    """Likewise; and what services alone may call is refused, as a person and as nobody."""
    order, none = ada.order(), new_id()
    how = {"timeout": 10, "metadata": [("authorization", f"Bearer {stranger.token}")] if stranger.token else []}
    with grpc.insecure_channel(platform.grpc["state"]) as channel:
        for name, call in OVER_GRPC.items():
            told = {
                repr(refusal(lambda key=key, call=call: call(channel, key, how))).replace(key, "KEY") for key in (order, none)
            }
            assert len(told) == 1, (name, told)
        listed = refusal(
            lambda: order in str(StateServiceStub(channel).ListStates(state.ListStatesRequest(namespace="orders"), **how))
        )
        assert listed[0] in {"False", "UNAUTHENTICATED", "PERMISSION_DENIED"}
    with grpc.insecure_channel(platform.grpc["actions"]) as channel:
        request = ExecuteActionRequest(action="shop.pay_order", input=json.dumps({"order_id": order}).encode())
        request.content_type = "application/json"
        assert refusal(lambda: ActionServiceStub(channel).ExecuteAction(request, **how))[0] in {"NOT_FOUND", "UNAUTHENTICATED"}
    for name, (service, ask) in OF_SERVICES.items():
        with grpc.insecure_channel(platform.grpc[service]) as channel:
            assert refusal(lambda ask=ask, channel=channel: ask(channel, how))[0] in {"PERMISSION_DENIED", "UNAUTHENTICATED"}, (
                name
            )
    assert len(ada.http.get(f"{STATE}/{order}/history").json()["items"]) == 1


def refusal(call: Callable[[], Any]) -> tuple[str, str]:
    """Return how a call is refused, or what it answers."""
    try:
        return str(call()), ""
    except grpc.RpcError as error:
        return error.code().name, error.details()


def say(socket: ClientConnection, number: int, command: dict[str, Any], channel: str) -> dict[str, Any]:
    """Send a command and return its reply."""
    socket.send(json.dumps({"id": number, **command}).replace("CHANNEL", channel))
    while True:
        for line in str(socket.recv(timeout=10)).split("\n"):
            if (reply := json.loads(line)).get("id") == number:
                return {name: value for name, value in reply.items() if name != "id"}


def test_on_a_socket_it_is_not_there(platform: Platform, ada: Person) -> None:
    """Each command about its channel is answered as for an order that never was; the owner hears of none of it."""
    order, none = ada.order(), new_id()
    with ExitStack() as stack:
        eve = stack.enter_context(Person(platform.gateway, "eve")).register()
        sockets = [stack.enter_context(connect(platform.realtime)) for _ in range(2)]
        for socket, person in zip(sockets, (ada, eve), strict=True):
            assert "connect" in say(socket, 1, {"connect": {"token": person.token}}, "")
        assert "subscribe" in say(sockets[0], 2, ON_A_SOCKET[0], f"orders:{order}")
        for number, command in enumerate(ON_A_SOCKET, start=10):
            told = [say(sockets[1], number * 2 + turn, command, f"orders:{key}") for turn, key in enumerate((order, none))]
            assert told[0] == told[1], command
            assert "error" in told[0], command
        assert say(sockets[0], 3, {"presence_stats": {"channel": f"orders:{order}"}}, "")["presence_stats"]["num_clients"] == 1
        assert httpx.get(f"{platform.gateway}/v1/auth/me", headers=ada.http.headers, verify=NO_TLS).is_success
