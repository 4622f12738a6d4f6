"""Grants on single objects count for tokens that were issued before, at every door, whichever processes hold what."""

import json
from contextlib import ExitStack

import grpc
from stylobate.api.state.v1.state_service_pb2 import GetStateRequest, StateKey
from stylobate.api.state.v1.state_service_pb2_grpc import StateServiceStub
from stylobate.testing.until import wait_until
from websockets.sync.client import connect

from .test_channel_rights import WITHIN_S, _next, admin
from .test_roles import SOON, _over_socket

__all__ = ["admin"]


def _over_grpc(platform, token: str, order: str) -> bool:
    """Read the order over gRPC; return whether it is shown."""
    request = GetStateRequest(keys=[StateKey(namespace="orders", key=order)])
    with grpc.insecure_channel(platform.grpc["state"]) as channel:
        found = StateServiceStub(channel).GetState(request, timeout=10, metadata=[("authorization", f"Bearer {token}")])
    return bool(found.states)


def test_a_grant_counts_within_a_second_and_ends_within_one(platform, person, admin):
    """Given: the old token reads that order by HTTP, gRPC and socket, and lists just it. Taken: 404, its subscription ends."""
    ada, clerk = person(), person()
    order, other = ada.order(), ada.order()
    channel, path = f"orders:{order}", f"/v1/state/orders/{order}"
    grant = {"subject": clerk.id, "permission": "orders:read", "resource": f"state/orders/{order}"}
    with ExitStack() as stack:
        socket = stack.enter_context(connect(platform.realtime))
        socket.send(json.dumps({"id": 1, "connect": {"token": clerk.token}}))
        assert "connect" in json.loads(socket.recv(timeout=WITHIN_S))
        assert clerk.http.get(path).status_code == 404
        assert not _over_socket(socket, channel)
        assert not _over_grpc(platform, clerk.token, order)
        assert clerk.http.put("/v1/grants", json=grant).status_code == 403

        given = admin.http.put("/v1/grants", json=grant)
        assert (given.status_code, given.json()["granted_by"], given.json()["expires_at"]) == (200, admin.id, None)
        assert wait_until(lambda: clerk.http.get(path).status_code == 200, SOON)
        assert wait_until(lambda: _over_grpc(platform, clerk.token, order), SOON)
        assert wait_until(lambda: _over_socket(socket, channel), SOON)
        assert [item["key"] for item in clerk.http.get("/v1/state/orders").json()["items"]] == [order]
        assert clerk.http.get(f"/v1/state/orders/{other}").status_code == 404
        assert [item["resource"] for item in clerk.http.get("/v1/grants").json()["items"]] == [grant["resource"]]
        question = {"permission": "orders:read", "resource": grant["resource"]}
        explained = clerk.http.post("/v1/access/check", json=question).json()
        assert (explained["allowed"], explained["reasons"][0]["source"]) == (True, "grant")

        assert admin.http.delete("/v1/grants", params=grant).status_code == 204
        assert _next(socket, "unsubscribe") == {"code": 2502, "reason": "access changed"}
        assert wait_until(lambda: clerk.http.get(path).status_code == 404, SOON)
        assert wait_until(lambda: not _over_grpc(platform, clerk.token, order), SOON)
        assert not _over_socket(socket, channel)
        assert clerk.http.get("/v1/state/orders").json()["items"] == []
