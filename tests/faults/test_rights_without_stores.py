"""Keys and grants while Valkey answers nobody, also in processes that start meanwhile; and keys that need no store at all."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import grpc
import httpx
import pytest
from stylobate.api.state.v1.state_service_pb2 import GetStateRequest, StateKey
from stylobate.api.state.v1.state_service_pb2_grpc import StateServiceStub
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform
from stylobate.testing.until import wait_until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.conftest import SHOP
from tests.people import PASSWORD, Person

pytestmark = pytest.mark.soak
SOON = timedelta(seconds=8)
"""Less than decisions are remembered for: who was not told would still answer by what it knew."""
WITHIN = timedelta(seconds=60)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Give a platform of two processes."""
    with Platform.run(tmp_path_factory.mktemp("rights"), "--workers", "2", modules=[SHOP]) as platform:
        yield platform


@contextmanager
def stopped(platform: Platform, *names: str) -> Iterator[None]:
    """Stop servers, which then answer nobody and close nothing, for as long as the block."""
    pids = [platform.children[name].pid for name in names]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def asked(platform: Platform, path: str, **headers: str) -> httpx.Response:
    """Ask over a connection of its own: any process may be met."""
    with httpx.Client(base_url=platform.gateway, timeout=60, headers=headers, verify=NO_TLS) as http:
        return http.get(path)


def everywhere(platform: Platform, path: str, status: int, **headers: str) -> bool:
    """Return whether it is answered so by whichever process, within the time."""
    return wait_until(lambda: all(asked(platform, path, **headers).status_code == status for _ in range(6)), SOON)


def over_grpc(platform: Platform, key: str, order: str) -> bool:
    """Read the order over gRPC; return whether it is shown."""
    request = GetStateRequest(keys=[StateKey(namespace="orders", key=order)])
    with grpc.insecure_channel(platform.grpc["state"]) as channel:
        found = StateServiceStub(channel).GetState(request, timeout=30, metadata=[("authorization", f"Bearer {key}")])
    return bool(found.states)


def reply(socket: Any, number: int, **command: Any) -> Any:
    """Send a command over the socket; return its answer."""
    socket.send(json.dumps({"id": number, **command}))
    while True:
        for line in socket.recv(timeout=60).split("\n"):
            if (answer := json.loads(line)).get("id") == number:
                return answer


def is_closed(socket: Any) -> bool:
    """Return whether the server has closed it."""
    try:
        socket.recv(timeout=0.05)
    except TimeoutError:
        return False
    except ConnectionClosed:
        return True
    return False


def test_keys_and_grants_count_and_end_without_redis(workers: Platform) -> None:
    """A key reads by HTTP, gRPC and socket, and no more; it and a grant end everywhere, also in processes started afterwards."""
    with Person(workers.gateway, "root") as root, Person(workers.gateway) as ada, Person(workers.gateway, "clerk") as clerk:
        made = workers.command("users", "create", root.email, "--admin", "--password-stdin", stdin=f"{PASSWORD}\n")
        assert made.returncode == 0, made.stderr
        root.login()
        order = ada.register().order()
        clerk.register()
        path = f"/v1/state/orders/{order}"
        key = root.http.post("/v1/api-keys", json={"name": "reader", "scopes": ["orders:read"]}).json()
        theirs = {"authorization": f"Bearer {clerk.token}"}
        with connect(workers.realtime) as socket:
            assert "connect" in reply(socket, 1, connect={"token": key["key"]})
            assert "subscribe" in reply(socket, 2, subscribe={"channel": f"orders:{order}"})
            assert everywhere(workers, path, 200, **{"x-api-key": key["key"]})
            assert over_grpc(workers, key["key"], order)
            refused = httpx.post(
                f"{workers.gateway}/orders",
                json={"items": [{"sku": "tea", "quantity": 1}]},
                headers={"x-api-key": key["key"]},
                verify=NO_TLS,
            )
            assert (refused.status_code, refused.json()["metadata"]["permission"]) == (403, "orders:create")
            assert everywhere(workers, path, 404, **theirs)
            with stopped(workers, "valkey"):
                grant = {"subject": clerk.id, "permission": "orders:read", "resource": f"state/orders/{order}"}
                assert root.http.put("/v1/grants", json=grant).status_code == 200
                assert everywhere(workers, path, 200, **theirs)
                assert over_grpc(workers, clerk.token, order)
                assert root.http.delete("/v1/grants", params=grant).status_code == 204
                assert root.http.delete(f"/v1/api-keys/{key['id']}").status_code == 204
                assert everywhere(workers, path, 404, **theirs)
                assert everywhere(workers, path, 401, **{"x-api-key": key["key"]})
                assert wait_until(lambda: is_closed(socket), SOON)
                before = {name: child.pid for name, child in workers.children.items() if name.startswith("platform")}
                for name in before:
                    workers.kill(name)
                assert wait_until(lambda: _are_back(workers, before, theirs), WITHIN)
                assert everywhere(workers, path, 401, **{"x-api-key": key["key"]})
                assert everywhere(workers, path, 404, **theirs)


def test_a_mistyped_key_needs_no_store(workers: Platform) -> None:
    """With both of them stopped it is refused by its text alone."""
    with Person(workers.gateway, "bob") as bob:
        bob.register()
        key = bob.http.post("/v1/api-keys", json={"name": "mine", "scopes": ["orders:read"]}).json()["key"]
        wrong = key[:-1] + ("0" if key[-1] != "0" else "1")
        with stopped(workers, "valkey", "postgres"):
            answer = asked(workers, "/v1/state/orders", **{"x-api-key": wrong})
        assert (answer.status_code, answer.json()["code"]) == (401, "API_KEY_INVALID")


def _are_back(platform: Platform, before: dict[str, int], headers: dict[str, str]) -> bool:
    """Return whether other processes serve in the place of these."""
    now = {name: child.pid for name, child in platform.children.items() if name in before}
    if len(now) < len(before) or {*now.values()} & {*before.values()}:
        return False
    try:
        return all(asked(platform, "/v1/auth/me", **headers).status_code == 200 for _ in range(6))
    except httpx.HTTPError:
        return False
