"""Roles count for tokens that were issued before, at every door, whichever processes hold what."""

import json
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import grpc
from stylobate.api.actions.v1.action_service_pb2 import ExecuteActionRequest
from stylobate.api.actions.v1.action_service_pb2_grpc import ActionServiceStub
from stylobate.testing.until import wait_until
from websockets.sync.client import connect

from .test_channel_rights import WITHIN_S, _next, admin

__all__ = ["admin"]
SOON = timedelta(seconds=5)
"""Less than decisions are remembered for: who was not told would still answer by what it knew."""


def _over_grpc(platform: Any, token: str, order: str) -> str:
    """Ship over gRPC; return the code."""
    request = ExecuteActionRequest(action="shop.ship_order", input=json.dumps({"order_id": order}).encode())
    request.content_type = "application/json"
    with grpc.insecure_channel(platform.grpc["actions"]) as channel:
        try:
            ActionServiceStub(channel).ExecuteAction(request, timeout=10, metadata=[("authorization", f"Bearer {token}")])
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def _over_socket(socket: Any, channel: str) -> bool:
    """Subscribe on a connected socket; return whether it is let in."""
    socket.send(json.dumps({"id": 9, "subscribe": {"channel": channel}}))
    while True:
        for line in socket.recv(timeout=WITHIN_S).split("\n"):
            if (reply := json.loads(line)).get("id") == 9:
                return "subscribe" in reply


def test_a_role_counts_within_a_second_and_ends_within_one(platform, person, admin):
    """Given: the old token ships by HTTP and gRPC, and sees on an open socket. Taken: 403, and its subscription ends."""
    ada, clerk = person(), person()
    orders = [ada.order() for _ in range(3)]
    channel = f"orders:{orders[2]}"
    for order in orders:
        assert ada.act("shop.pay_order", {"order_id": order}).status_code == 200
    role = f"/v1/users/{clerk.id}/roles/staff"
    with ExitStack() as stack:
        socket = stack.enter_context(connect(platform.realtime))
        socket.send(json.dumps({"id": 1, "connect": {"token": clerk.token}}))
        assert "connect" in json.loads(socket.recv(timeout=WITHIN_S))
        refused = clerk.act("shop.ship_order", {"order_id": orders[0]})
        assert (refused.status_code, refused.json()["metadata"]["permission"]) == (403, "orders:ship")
        assert not _over_socket(socket, channel)
        assert _over_grpc(platform, clerk.token, orders[1]) == "PERMISSION_DENIED"

        given = admin.http.put(role)
        assert (given.status_code, given.json()["role"], given.json()["assigned_by"]) == (200, "staff", admin.id)
        assert wait_until(lambda: clerk.act("shop.ship_order", {"order_id": orders[0]}).status_code == 200, SOON)
        assert wait_until(lambda: _over_grpc(platform, clerk.token, orders[1]) == "OK", SOON)
        assert wait_until(lambda: _over_socket(socket, channel), SOON)
        assert {held["role"] for held in clerk.http.get(f"/v1/users/{clerk.id}/roles").json()["items"]} == {"staff", "user"}

        assert admin.http.delete(role).status_code == 204
        assert _next(socket, "unsubscribe") == {"code": 2502, "reason": "access changed"}
        assert not _over_socket(socket, channel)
        assert wait_until(lambda: clerk.act("shop.ship_order", {"order_id": orders[2]}).status_code == 403, SOON)
        assert wait_until(lambda: _over_grpc(platform, clerk.token, orders[2]) == "PERMISSION_DENIED", SOON)
        assert ada.http.get(f"/v1/state/orders/{orders[2]}").json()["status"] == "paid"
