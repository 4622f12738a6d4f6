"""What several processes must agree on: revocations, limits, pushes, events."""

import asyncio
import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta

import grpc
import httpx
import pytest
from stylobate.api.actions.v1.action_service_pb2 import ExecuteActionRequest
from stylobate.api.actions.v1.action_service_pb2_grpc import ActionServiceStub
from stylobate.api.auth.v1.auth_service_pb2 import GetMeRequest
from stylobate.api.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from stylobate.api.state.v1.state_service_pb2 import ListStatesRequest
from stylobate.api.state.v1.state_service_pb2_grpc import StateServiceStub
from stylobate.launcher.demo.subscriber import Subscriber
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.until import wait_until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

TRIES = 40
"""Fresh connections: that all of them fall to the same one of two processes has a chance of 1 in 2^39."""
TEA = {"items": [{"sku": "tea", "quantity": 1}]}
_OWN_CONNECTIONS = [("grpc.use_local_subchannel_pool", 1)]


def _over_http(platform, token):
    return httpx.get(f"{platform.gateway}/v1/auth/me", headers={"authorization": f"Bearer {token}"}, verify=NO_TLS).status_code


def _over_grpc(platform, token):
    """Call each service that users may call, on its own port; return the codes."""
    calls = {
        "auth": lambda channel: AuthServiceStub(channel).GetMe(GetMeRequest(), **how),
        "state": lambda channel: StateServiceStub(channel).ListStates(ListStatesRequest(namespace="orders"), **how),
        "actions": lambda channel: ActionServiceStub(channel).ExecuteAction(
            ExecuteActionRequest(action="probe.budget", content_type="application/json"), **how
        ),
    }
    how = {"metadata": [("authorization", f"Bearer {token}")], "timeout": 60}
    codes = set()
    for service, call in calls.items():
        with grpc.insecure_channel(platform.grpc[service], options=_OWN_CONNECTIONS) as channel:
            try:
                call(channel)
                codes.add(grpc.StatusCode.OK)
            except grpc.RpcError as error:
                codes.add(error.code())
    return codes


def _socket(stack, platform, token):
    """Open a socket and connect with the token; return it and the reply."""
    socket = stack.enter_context(connect(platform.realtime))
    socket.send(json.dumps({"id": 1, "connect": {"token": token}}))
    return socket, json.loads(socket.recv(timeout=60))


def _read_to_the_end(socket):
    while True:
        socket.recv(timeout=60)


def test_logout_is_known_everywhere(platform, person):
    """After logout on one process the token is refused by each: over HTTP, gRPC, and on sockets, open ones included."""
    ada = person()
    assert {_over_http(platform, ada.token) for _ in range(4)} == {200}
    assert _over_grpc(platform, ada.token) == {grpc.StatusCode.OK}
    with ExitStack() as stack:
        sockets = [_socket(stack, platform, ada.token) for _ in range(8)]
        assert all("connect" in reply for _, reply in sockets)

        assert ada.http.post("/v1/auth/logout").status_code == 204
        for socket, _ in sockets:
            with pytest.raises(ConnectionClosed) as closed:
                _read_to_the_end(socket)
            assert closed.value.rcvd.code == 3500
        with ThreadPoolExecutor(4) as pool:

            def is_refused_by_all():
                return set(pool.map(lambda _: _over_http(platform, ada.token), range(TRIES))) == {401}

            assert wait_until(is_refused_by_all, timedelta(seconds=60))
        for _ in range(10):
            assert _over_grpc(platform, ada.token) == {grpc.StatusCode.UNAUTHENTICATED}
            with pytest.raises(ConnectionClosed) as closed:
                _socket(stack, platform, ada.token)
            assert closed.value.rcvd.code == 3500


async def test_limit_is_exact_over_all_processes(platform, person):
    """Of 60 orders sent at once over 60 connections exactly 30 are taken, whichever processes they reach."""
    ada = person()
    headers = {"authorization": f"Bearer {ada.token}"}
    limits = httpx.Limits(max_connections=60, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=platform.gateway, headers=headers, limits=limits, timeout=30, verify=NO_TLS) as client:
        answers = await asyncio.gather(*(client.post("/v1/actions/shop.place_order", json=TEA) for _ in range(60)))
    codes = [answer.status_code for answer in answers]
    assert (codes.count(200), codes.count(429)) == (30, 30)
    assert len(ada.http.get("/v1/state/orders?page_size=500").json()["items"]) == 30


def _sockets_by_process(platform) -> dict[str, float]:
    """Return how many connections each process holds, as its metrics say."""
    metrics = httpx.get(f"{platform.endpoints['admin']}/metrics", verify=NO_TLS).text
    found = re.findall(r"^stylobate_realtime_connections(?:{([^}]*)})? (\S+)$", metrics, re.MULTILINE)
    return {label: float(count) for label, count in found}


async def test_push_reaches_sockets_of_every_process(platform, person, has_workers):
    """Each subscriber gets each event once and in order, also one whose socket is in another process than the hook."""
    ada = person()
    order = ada.order()
    listeners: list[Subscriber] = []
    try:
        while len(listeners) < 2 or (has_workers and sum(map(bool, _sockets_by_process(platform).values())) < 2):
            assert len(listeners) < TRIES, "every socket fell to the same process"
            listeners.append(Subscriber(platform.realtime, ada.token))
            assert await listeners[-1].subscribe(f"orders:{order}") == 0
        for event in ("pay", "cancel"):
            answer = await asyncio.to_thread(ada.act, f"shop.{event}_order", {"order_id": order})
            assert answer.status_code == 200
        for listener in listeners:
            pushes = [await listener.push(), await listener.push()]
            if pushes[0]["version"] == 1:  # the creation was still on its way
                pushes = [pushes[1], await listener.push()]
            assert [(push["version"], push["event"]) for push in pushes] == [(2, "pay"), (3, "cancel")]
    finally:
        for listener in listeners:
            await listener.close()


def test_each_event_reaches_the_hook_once_and_in_order(platform, person, witness):
    """Orders placed and paid by many at once reach the hook once each, per order in their order, in one process at a time."""
    people = [person() for _ in range(4)]

    def shop(ada):
        orders = [ada.order() for _ in range(5)]
        for order in orders:
            assert ada.act("shop.pay_order", {"order_id": order}).status_code == 200
        return orders

    with ThreadPoolExecutor(4) as pool:
        orders = [order for group in pool.map(shop, people) for order in group]
    wanted = {(order, event) for order in orders for event in ("", "pay")}
    assert witness.saw_all(wanted, timedelta(seconds=10)), witness.missing(wanted)

    after = {(order, "") for order in (person().order() for _ in range(5))}
    assert witness.saw_all(after, timedelta(seconds=10))  # by now a second delivery would have come
    seen = [entry for entry in witness.seen() if entry["subject"] in orders]
    assert len({entry["id"] for entry in seen}) == len(seen) == 2 * len(orders)
    for order in orders:
        assert [entry["version"] for entry in seen if entry["subject"] == order] == [1, 2]


def test_hook_runs_for_who_caused_the_event(person, witness):
    """A hook runs as the actions service on behalf of the event's actor, whose token it never sees."""
    ada = person()
    order = ada.order()
    assert witness.saw_all({(order, "")}, timedelta(seconds=10))
    entry = next(entry for entry in witness.seen() if entry["subject"] == order)
    assert (entry["kind"], entry["as"], entry["for"], entry["actor"]) == ("service", "service:actions", ada.id, ada.id)


def test_every_process_is_ready_and_read_the_same_modules(platform):
    """Each process answers for its services, and all of them loaded the same declarations."""
    status = platform.status()
    assert (status["ready"], status["status"]) == (True, "healthy")
    processes = status.get("processes") or {"platform": status}
    hosted = {name for said in processes.values() for name in said["services"]}
    assert hosted == {"ratelimit", "auth", "state", "actions", "realtime", "gateway"}
    assert len({said["declarations"]["digest"] for said in processes.values()}) == 1
