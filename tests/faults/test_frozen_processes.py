"""Processes that are frozen: they keep their connections, accept calls and answer none."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from time import monotonic
from typing import Any

import grpc
import httpx
import psutil
import pytest
from stylobate.api.state.v1.state_service_pb2 import ListStatesRequest
from stylobate.testing.platform import Platform
from stylobate.testing.until import wait_until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.people import Person

NOTICED_WITHIN = timedelta(seconds=30)
BACK_WITHIN = timedelta(seconds=30)
PATIENCE_S = 60


@contextmanager
def frozen(platform: Platform, name: str) -> Iterator[None]:
    """Freeze a process for as long as the block."""
    pid = platform.children[name].pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def ada(platform: Platform) -> Iterator[Person]:
    """Give somebody with an order."""
    with Person(platform.gateway) as ada:
        ada.http.timeout = httpx.Timeout(PATIENCE_S)
        yield ada.register()


def test_a_frozen_limiter_costs_nothing_for_long(platform, ada):
    """While the ratelimit service is frozen everything is served, soon without waiting for it; afterwards it counts again."""
    with frozen(platform, "ratelimit"):

        def is_served_at_once() -> bool:
            answers = [ada.http.get("/v1/auth/me") for _ in range(20)]
            assert {answer.status_code for answer in answers} == {200}
            return max(answer.elapsed for answer in answers) < timedelta(seconds=0.9)  # a check that is waited for takes 1 s

        assert wait_until(is_served_at_once, NOTICED_WITHIN)
        assert "ratelimit" not in ada.http.get("/v1/auth/me").headers
    assert wait_until(lambda: "ratelimit" in ada.http.get("/v1/auth/me").headers, BACK_WITHIN)


@contextmanager
def stopped(platform: Platform, *names: str) -> Iterator[None]:
    """Freeze servers, all of their processes, for as long as the block."""
    roots = [psutil.Process(platform.children[name].pid) for name in names]
    processes = [process for root in roots for process in (root, *root.children(recursive=True))]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def _by_grpc(platform: Platform, key: str) -> grpc.StatusCode:
    with grpc.insecure_channel(platform.grpc["state"]) as channel:
        call = channel.unary_unary("/stylobate.api.state.v1.StateService/ListStates", ListStatesRequest.SerializeToString)
        try:
            call(ListStatesRequest(namespace="orders"), metadata=(("x-api-key", key),), timeout=PATIENCE_S)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK


def _subscribe(socket: ClientConnection, order: str) -> None:
    """Connect by what came with the upgrade, and subscribe to an order's channel."""
    socket.send('{"id": 1, "connect": {}}\n' + json.dumps({"id": 2, "subscribe": {"channel": f"orders:{order}"}}))
    answers: list[dict[str, Any]] = []
    while len(answers) < 2:
        answers += map(json.loads, socket.recv(timeout=PATIENCE_S).splitlines())
    assert [set(answer) - {"id"} for answer in answers] == [{"connect"}, {"subscribe"}], answers


def test_a_key_does_what_it_is_for_until_it_is_revoked(platform, admin, ada):
    """At every door; a wrong one is refused with nothing to ask, a revoked one within a second, also by who starts afterwards."""
    made = admin.http.post("/v1/api-keys", json={"name": "reader", "scopes": ["orders:read"]}).json()
    key, order = made["key"], ada.order()
    with httpx.Client(base_url=platform.gateway, timeout=PATIENCE_S, headers={"x-api-key": key}) as http:
        assert http.get(f"/v1/state/orders/{order}").status_code == 200
        assert _by_grpc(platform, key) is grpc.StatusCode.OK
        refused = http.post("/orders", json={"items": [{"sku": "tea", "quantity": 1}]})
        assert (refused.status_code, refused.json()["metadata"]) == (403, {"permission": "orders:create"})
        wrong = {"x-api-key": key[:-1] + ("a" if key[-1] != "a" else "b")}
        with stopped(platform, "valkey", "postgres"):
            assert http.get("/v1/state/orders", headers=wrong).json()["code"] == "API_KEY_INVALID"
            assert _by_grpc(platform, wrong["x-api-key"]) is grpc.StatusCode.UNAUTHENTICATED
        door = connect(platform.realtime, additional_headers={"x-api-key": key})
        with door as socket, ExitStack() as frozen_servers:
            _subscribe(socket, order)
            frozen_servers.enter_context(stopped(platform, "valkey"))
            assert admin.http.delete(f"/v1/api-keys/{made['id']}").status_code == 204
            revoked_at = monotonic()
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=PATIENCE_S)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 3500
            assert wait_until(lambda: http.get("/v1/state/orders").json().get("code") == "API_KEY_REVOKED", NOTICED_WITHIN)
            assert wait_until(lambda: _by_grpc(platform, key) is grpc.StatusCode.UNAUTHENTICATED, NOTICED_WITHIN)
            print(f"refused everywhere after {monotonic() - revoked_at:.2f} s")  # noqa: T201  for who measures
            platform.kill("gateway")

            def is_refused_by_another() -> bool:
                with suppress(httpx.TransportError):
                    return bool(http.get("/v1/state/orders").json().get("code") == "API_KEY_REVOKED")
                return False

            assert wait_until(is_refused_by_another, BACK_WITHIN)


def test_copies_are_given_out_while_the_database_is_frozen(platform, ada):
    """A read that may be a copy is answered, and says for how long it has not been known whether it is the newest."""
    path = f"/v1/state/orders/{ada.order()}"
    cached = {"consistency": "cached"}
    assert ada.http.get(path, params=cached).headers["cache-status"] == "state; fwd=miss"
    assert ada.http.get(path, params=cached).headers["cache-status"] == "state; hit"
    postmaster = psutil.Process(platform.children["postgres"].pid)
    stopped = [postmaster, *postmaster.children(recursive=True)]
    for process in stopped:
        process.suspend()
    try:

        def is_stale() -> bool:
            answer = ada.http.get(path, params=cached)
            assert answer.status_code == 200, answer.text
            return answer.headers["cache-status"].startswith("state; hit; ttl=-")

        assert wait_until(is_stale, NOTICED_WITHIN)
    finally:
        for process in stopped:
            process.resume()
    assert wait_until(lambda: ada.http.get(path).status_code == 200, BACK_WITHIN), platform.log_tails()
    assert ada.http.post(f"{path}/transitions/cancel", json={}).status_code == 200

    def is_seen() -> bool:
        answer = ada.http.get(path, params=cached)
        return bool(answer.json()["status"] == "cancelled") and "ttl" not in answer.headers["cache-status"]

    assert wait_until(is_seen, BACK_WITHIN)


def test_a_limit_that_guards_something_holds_without_the_limiter(platform, ada):
    """While the ratelimit service is frozen an action's own limit is counted where the action runs."""
    with frozen(platform, "ratelimit"):
        answers = [ada.act("shop.place_order", {"items": [{"sku": "tea", "quantity": 1}]}) for _ in range(32)]
    assert [answer.status_code for answer in answers].count(429) >= 1
    assert answers[0].status_code == 200


@pytest.mark.parametrize(
    ("victim", "path"),
    [("state", "/v1/state/orders/{order}"), ("auth", "/v1/auth/me"), ("actions", "/v1/actions/shop.place_order")],
)
def test_what_needs_a_frozen_part_is_refused_at_once(platform, ada, victim, path):
    """After a moment 503 with Retry-After, without a wait; other parts are served; when it thaws, all is as before."""
    order = ada.order()
    path = path.format(order=order)
    other = "/v1/auth/me" if victim != "auth" else f"/v1/state/orders/{order}"
    with frozen(platform, victim):

        def is_refused_at_once() -> bool:
            answers = [ada.http.get(path) for _ in range(5)]
            assert {answer.status_code for answer in answers} <= {503, 504}
            return {answer.status_code for answer in answers} == {503} and all(
                "retry-after" in answer.headers for answer in answers
            )

        assert wait_until(is_refused_at_once, NOTICED_WITHIN)
        assert ada.http.get(other).status_code == 200
    assert wait_until(lambda: ada.http.get(path).status_code not in {503, 504}, BACK_WITHIN), platform.log_tails()
    basket = {"items": [{"sku": "tea", "quantity": 1}]}  # which others than the gateway have to find it again for
    with Person(platform.gateway) as bea:  # whom nobody knows yet
        bea.register()
        assert wait_until(
            lambda: all(bea.act("shop.place_order", basket).status_code not in {503, 504} for _ in range(3)), BACK_WITHIN
        )


def test_the_log_says_what_does_not_answer(platform, ada):
    """An answer 503 stands in the gateway's log at warning, with the service that did not answer."""
    with frozen(platform, "auth"):
        assert wait_until(lambda: ada.http.get("/v1/auth/me").status_code == 503, NOTICED_WITHIN)
    lines = [json.loads(line) for file in platform.log_files() for line in file.read_text().splitlines() if line[:1] == "{"]
    said = [line for line in lines if line["event"] == "request_unavailable" and line["level"] == "warning"]
    assert {line.get("service") for line in said} >= {"auth"}
