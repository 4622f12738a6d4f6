"""The presence contract, over every adapter."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from stylobate.redis import RedisManager
from stylobate.testing.valkey_cluster import ValkeyCluster
from stylobate_realtime.errors import RealtimeUnavailableError
from stylobate_realtime.presence import Presence, PresenceEntry
from stylobate_realtime.presence.redis import RedisPresence
from stylobate_realtime.protocol.messages import ClientInfo

from .memory_presence import MemoryPresence

TTL = timedelta(milliseconds=400)
ANN = PresenceEntry("default:chat:1", ClientInfo("ann", "c1"))
BOB = PresenceEntry("default:chat:1", ClientInfo("bob", "c2"))


@pytest.fixture(params=["memory", "redis", "cluster"])
async def presence(request: pytest.FixtureRequest) -> AsyncIterator[Presence]:
    """Give an empty presence."""
    if request.param == "memory":
        yield MemoryPresence(TTL, time.monotonic)
        return
    if request.param == "cluster":
        cluster: ValkeyCluster = request.getfixturevalue("valkey_cluster")
        await cluster.flush()
        url = cluster.url
    else:
        url = request.getfixturevalue("redis_url")
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(RedisManager.open(url))
        if not redis.is_cluster:
            await redis.call("FLUSHDB")
        yield RedisPresence(redis, TTL)


async def test_entries_are_kept_by_topic(presence):
    """Who was put is there, in its topic and tenant only."""
    await presence.put([ANN, BOB, PresenceEntry("default:chat:2", ANN.info), PresenceEntry("other:chat:1", ANN.info)])
    assert await presence.entries("default:chat:1") == {"c1": ANN.info, "c2": BOB.info}
    assert await presence.entries("other:chat:1") == {"c1": ANN.info}
    assert await presence.entries("default:chat:3") == {}


async def test_removal_is_seen_at_once(presence):
    """What was removed is gone with the answer; removing it again is fine."""
    await presence.put([ANN, BOB])
    await presence.remove("default:chat:1", "c1")
    await presence.remove("default:chat:1", "c1")
    assert await presence.entries("default:chat:1") == {"c2": BOB.info}


async def test_entries_expire_unless_renewed(presence):
    """An entry vanishes by itself when its node does not renew it; a renewed one of the same topic stays."""
    await presence.put([ANN, BOB])
    deadline = time.monotonic() + 60
    while "c1" in await presence.entries("default:chat:1"):
        await presence.put([BOB])
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)  # expiry is by the server's clock
    assert await presence.entries("default:chat:1") == {"c2": BOB.info}


async def test_redis_that_is_down_is_said():
    """Without Redis the answer is an error, not an empty room."""
    async with RedisManager.open("unix:///nowhere/valkey.sock") as redis:
        presence = RedisPresence(redis, TTL)
        with pytest.raises(RealtimeUnavailableError):
            await presence.entries("default:chat:1")
        with pytest.raises(RealtimeUnavailableError):
            await presence.put([ANN])
