"""Who is banned keeps no socket and gets none; nobody is asked and nothing is charged for that."""

import json
from typing import Any

import pytest
from stylobate.api.ratelimit.v1.ratelimit_service_pb2 import Ban, WatchBansResponse
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import InvalidStatus

BANNED = 3503


def _ban(platform: Any, level: str, subject: str) -> None:
    platform.bans.take(WatchBansResponse(bans=[Ban(level=level, subject=subject, tenant="default")]))


async def _connect(platform: Any, socket: Any, **claims: Any) -> None:
    await socket.send(json.dumps({"id": 1, "connect": {"token": platform.auth.token("ann", **claims)}}))


async def _closed(socket: Any) -> int:
    await socket.wait_closed()
    return int(socket.close_code)


async def test_a_banned_address_opens_no_socket(platform: Any, node: Any) -> None:
    """It is told so like over HTTP, and not charged."""
    _ban(platform, "ip", "127.0.0.1")
    with pytest.raises(InvalidStatus) as caught:
        await open_socket(node.url)
    assert caught.value.response.status_code == 403
    assert json.loads(caught.value.response.body)["code"] == "BANNED"
    assert platform.limits.charged == []


@pytest.mark.parametrize(("level", "subject"), [("user", "ann"), ("session", "s1"), ("tenant", "default")])
async def test_who_is_banned_does_not_connect(platform: Any, node: Any, level: str, subject: str) -> None:
    """Whatever of the caller is banned."""
    _ban(platform, level, subject)
    socket = await open_socket(node.url)
    await _connect(platform, socket, session="s1")
    assert await _closed(socket) == BANNED


@pytest.mark.parametrize(("level", "subject"), [("user", "ann"), ("ip", "127.0.0.1")])
async def test_who_is_connected_is_closed(platform: Any, node: Any, level: str, subject: str) -> None:
    """At once, without saying anything; somebody else stays."""
    socket = await open_socket(node.url)
    await _connect(platform, socket)
    assert "connect" in json.loads(await socket.recv())
    _ban(platform, "user", "somebody else")
    _ban(platform, level, subject)
    assert await _closed(socket) == BANNED
