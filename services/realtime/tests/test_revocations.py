"""What was revoked keeps no socket: whatever was revoked, and whenever in the life of a connection."""

import asyncio
import json
import time

import pytest
from stylobate.testing.until import until
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed

from .clients import PATIENCE_S

KINDS = {"session": {"session": "s1"}, "token": {"token": "t1"}, "subject": {"subject": "ann"}}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def revocation(request):
    """Run the test for every kind of revocation."""
    return request.param


async def _connect(platform, node, **claims):
    socket = await open_socket(node.url)
    await _send_connect(platform, socket, **claims)
    return socket


async def _send_connect(platform, socket, **claims) -> None:
    await socket.send(json.dumps({"id": 1, "connect": {"token": platform.auth.token("ann", jti="t1", **claims)}}))


async def _closed(socket) -> int:
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                await socket.recv()
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 0


async def test_before_connecting(platform, node, revocation):
    """A revoked token connects nobody."""
    await platform.auth.revoke(**revocation)
    await until(lambda: platform.verifier.is_revoked(platform.principal("ann", jti="t1")))
    assert await _closed(await _connect(platform, node)) == 3500


async def test_while_connecting(platform, node, revocation):
    """What is revoked after the token was verified and before the session is open opens none."""
    socket = await open_socket(node.url)  # which is charged already
    platform.limits.gate.clear()
    await _send_connect(platform, socket)
    await until(lambda: platform.limits.waiting)
    await platform.auth.revoke(**revocation)
    await until(lambda: platform.verifier.is_revoked(platform.principal("ann", jti="t1")))
    platform.limits.gate.set()
    assert await _closed(socket) == 3500


async def test_after_connecting(platform, node, revocation):
    """An open socket is closed, those of others are not."""
    socket = await _connect(platform, node)
    await socket.recv()
    async with open_socket(node.url) as other:
        await other.send(json.dumps({"id": 1, "connect": {"token": platform.auth.token("bob", session="s2")}}))
        await other.recv()
        await platform.auth.revoke(**revocation)
        assert await _closed(socket) == 3500
        await other.send(json.dumps({"id": 2, "subscribe": {"channel": "news:1"}}))
        assert json.loads(await other.recv()) == {"id": 2, "subscribe": {}}


async def test_in_the_grace(platform, node, revocation):
    """A socket that outlives its token is closed when the session behind it is revoked, not at the end of the grace."""
    socket = await _connect(platform, node, ttl=0.5)
    await socket.recv()
    ends = time.time() + 0.6
    await until(lambda: time.time() > ends)
    await platform.auth.revoke(**revocation)
    assert await _closed(socket) == 3500


async def test_while_a_command_is_carried_out(platform, node, revocation):
    """A subscribe that was under way when the session ended is not answered, and leaves nothing subscribed."""
    socket = await _connect(platform, node)
    await socket.recv()
    platform.limits.gate.clear()
    await socket.send(json.dumps({"id": 2, "subscribe": {"channel": "chat:1"}}))
    await until(lambda: platform.limits.waiting)
    await platform.auth.revoke(**revocation)
    assert await _closed(socket) == 3500
    platform.limits.gate.set()
    await until(lambda: not platform.presence.now("default:chat:1"))


async def test_new_token_of_a_session_that_ended(platform, stage):
    """A refresh brings nothing back: a token that was revoked on its way closes the session."""
    talk = await stage.connected("ann", session="s0")
    token = platform.auth.token("ann", session="s1")
    platform.limits.gate.clear()
    talk.session.receive(json.dumps({"id": 2, "refresh": {"token": token}}).encode())
    await until(lambda: platform.limits.waiting)
    await platform.auth.revoke("s1")
    await until(lambda: platform.verifier.is_revoked(platform.principal("ann", session="s1")))
    platform.limits.gate.set()
    await talk.settle()
    assert talk.code == 3500


async def test_withdrawn_key(platform, node):
    """When the key is no longer published that a session's token was signed with, the session ends."""
    socket = await _connect(platform, node)
    await socket.recv()
    platform.auth.withdraw_key()
    await platform.verifier.verify(platform.auth.token("eve"))  # a token with an unknown key has the keys looked for
    assert await _closed(socket) == 3500
