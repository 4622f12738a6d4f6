"""A right to a channel ends with what it rests on, whichever processes hold the sockets and the object."""

import json
from contextlib import ExitStack

import pytest
from websockets.sync.client import connect

from tests.people import PASSWORD, Person

WITHIN_S = 60.0


@pytest.fixture
def admin(platform):
    """Give somebody who may delete the orders of everyone."""
    with Person(platform.gateway, "admin") as admin:
        made = platform.command("users", "create", admin.email, "--admin", "--password-stdin", stdin=f"{PASSWORD}\n")
        assert made.returncode == 0, made.stderr
        yield admin.login()


def _subscriber(stack, platform, token, channel):
    """Open a socket, connect and subscribe; return it."""
    socket = stack.enter_context(connect(platform.realtime))
    socket.send(json.dumps({"id": 1, "connect": {"token": token}}))
    assert "connect" in json.loads(socket.recv(timeout=WITHIN_S))
    socket.send(json.dumps({"id": 2, "subscribe": {"channel": channel}}))
    while (reply := json.loads(socket.recv(timeout=WITHIN_S))).get("id") != 2:
        pass
    assert "subscribe" in reply, reply
    return socket


def _next(socket, *kinds):
    """Return the next push of one of these kinds, over whatever else is pushed. Raises TimeoutError."""
    while True:
        for line in socket.recv(timeout=WITHIN_S).split("\n"):
            push = json.loads(line).get("push", {})
            if found := push.keys() & kinds:
                return push[found.pop()]


def test_subscription_ends_when_the_object_is_deleted(platform, person, admin):
    """Owner and administrator, on several sockets, are told; subscribing again is refused."""
    ada = person()
    order = ada.order()
    with ExitStack() as stack:
        sockets = [_subscriber(stack, platform, who.token, f"orders:{order}") for who in (ada, admin) for _ in range(6)]
        other = ada.order()
        others = _subscriber(stack, platform, ada.token, f"orders:{other}")
        assert admin.http.delete(f"/v1/state/orders/{order}").status_code in {200, 204}
        for socket in sockets:
            assert _next(socket, "unsubscribe") == {"code": 2502, "reason": "access changed"}
            socket.send(json.dumps({"id": 3, "subscribe": {"channel": f"orders:{order}"}}))
            assert json.loads(socket.recv(timeout=WITHIN_S))["error"]["code"] == 103
        ada.act("shop.pay_order", {"order_id": other})
        while (push := _next(others, "unsubscribe", "pub")).get("data", {}).get("status") != "paid":
            assert "data" in push, push  # it goes on
