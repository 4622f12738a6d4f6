"""Sockets of API keys: how a key comes, and how long it keeps its socket."""

import asyncio
import json
import time

import pytest
from stylobate.testing.until import until
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed, InvalidStatus

from .clients import PATIENCE_S


async def _closed(socket) -> int:
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                await socket.recv()
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 0


@pytest.mark.parametrize("way", ["connect", "x-api-key", "authorization"])
async def test_a_key_connects_and_its_end_closes_the_socket(platform, node, way):
    """As a connect's token, or with the upgrade; the answer names no end, since a key is not refreshed."""
    key_id, key = platform.auth.api_key("ann")
    fields = {"connect": {}, "x-api-key": {"x-api-key": key}, "authorization": {"authorization": f"Bearer {key}"}}[way]
    socket = await open_socket(node.url, additional_headers=fields)
    await socket.send(json.dumps({"id": 1, "connect": {"token": key} if way == "connect" else {}}))
    answer = json.loads(await socket.recv())["connect"]
    assert answer["client"]
    assert not answer.get("expires")
    assert "ttl" not in answer
    await platform.auth.revoke(key=key_id)
    assert await _closed(socket) == 3500


async def test_two_credentials_open_nothing(platform, node):
    """Nobody chooses which one counts."""
    _, key = platform.auth.api_key("ann")
    with pytest.raises(InvalidStatus) as refused:
        await open_socket(node.url, additional_headers={"x-api-key": key, "authorization": f"Bearer {key}"})
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body)["code"] == "API_KEY_INVALID"


async def test_what_is_no_bearer_is_not_looked_at(platform, node):
    """A proxy in front may have credentials of its own; without a token nobody is connected."""
    socket = await open_socket(node.url, additional_headers={"authorization": "Basic YTpi"})
    await socket.send(json.dumps({"id": 1, "connect": {}}))
    assert await _closed(socket) == 3507


async def test_a_key_of_another_network_connects_nobody(platform, node):
    """By the address of the socket, whether the key was verified before or not."""
    _, key = platform.auth.api_key("ann", allowed_cidrs=["192.0.2.0/24"])
    _, fitting = platform.auth.api_key("ann", allowed_cidrs=["127.0.0.0/8"])
    for sent, code in ((key, 3500), (key, 3500), (fitting, 0)):
        socket = await open_socket(node.url)
        await socket.send(json.dumps({"id": 1, "connect": {"token": sent}}))
        if code:
            assert await _closed(socket) == code
        else:
            assert json.loads(await socket.recv())["connect"]["client"]


async def test_a_key_is_proven_anew_while_its_socket_lasts(platform, stage):
    """What auth says then decides; while it says nothing the grace runs on."""
    key_id, key = platform.auth.api_key("ann", ttl=30)
    talk = stage.talk()
    await talk.say({"id": 1, "connect": {"token": key}})
    found = platform.auth.api_keys[key_id]
    found.believed_until.FromNanoseconds(time.time_ns() + int(600e9))
    await stage.manager.renewal.look()
    stage.advance(20)
    assert talk.session.principal.expires_at == found.believed_until.ToNanoseconds() / 1e9
    await stage.manager.renewal.look()
    assert talk.code is None or not talk.code
    platform.auth.api_keys[key_id].rate_limit = "9/day"
    await platform.auth.change_key(key_id)
    await until(lambda: stage.manager.renewal.doubts)
    await stage.manager.renewal.look()
    assert talk.session.principal.rate_limit == "9/day", "it changed"
    _, other = platform.auth.api_key("bob", ttl=30)
    ended = stage.talk()
    await ended.say({"id": 1, "connect": {"token": other}})
    platform.auth.api_keys.clear()
    await stage.manager.renewal.look()
    await until(lambda: ended.code == 3500)
