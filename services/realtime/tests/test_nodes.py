"""Two nodes over a real Valkey: what happens on one is seen on the other."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from stylobate.launcher.embedded import EmbeddedValkey, run_folder
from stylobate.redis import RedisManager
from stylobate_realtime.broker.redis import RedisBroker
from stylobate_realtime.errors import RealtimeUnavailableError
from stylobate_realtime.presence.redis import RedisPresence

Spawn = Callable[[str], Any]


@pytest.fixture
async def spawn(serve) -> AsyncIterator[Spawn]:
    """Give a maker of nodes on a Valkey."""
    async with AsyncExitStack() as stack:

        async def make(url: str) -> Any:
            redis = await stack.enter_async_context(RedisManager.open(url))
            broker = await stack.enter_async_context(RedisBroker.open(redis, timedelta(milliseconds=500)))
            presence = RedisPresence(redis, timedelta(seconds=60))
            return await stack.enter_async_context(serve(broker=broker, presence=presence))

        yield make


async def test_publication_and_presence_cross_nodes(platform, spawn, connect, redis_url):
    """A subscriber hears what another node published, sees who is there, and hears joins and leaves."""
    one, two = await spawn(redis_url), await spawn(redis_url)
    ann = await connect(one.url, platform.auth.token("ann"))
    bob = await connect(two.url, platform.auth.token("bob"), use_protobuf=True)
    room, seen = await ann.subscribe("chat:1", join_leave=True)
    bobs, _ = await bob.subscribe("chat:1")
    assert (await seen.wait("join", 2)).info.user == "bob"
    assert sorted(info.user for info in (await room.presence()).clients.values()) == ["ann", "bob"]

    await two.publish("chat:1", {"from": "service"})
    assert (await seen.wait("publication")).pub.data == {"from": "service"}
    await bobs.publish(b'{"from": "bob"}')
    assert (await seen.wait("publication", 2)).pub.info.user == "bob"

    await bobs.unsubscribe()
    assert (await seen.wait("leave")).info.user == "bob"
    assert [info.user for info in (await room.presence()).clients.values()] == ["ann"]


async def test_redis_that_is_restarted(platform, spawn, connect, tmp_path):
    """While Redis is away sockets stay and publishing says so; afterwards pushes flow again, nobody had to reconnect."""
    server = EmbeddedValkey(tmp_path / "data", run_folder(tmp_path), options={"appendonly": "no"})
    await server.start()
    await server.ready()
    node = await spawn(server.url)
    ann = await connect(node.url, platform.auth.token("ann"))
    room, seen = await ann.subscribe("chat:1")

    await server.stop()
    with pytest.raises(RealtimeUnavailableError):
        await node.publish("chat:1", {"lost": True})
    await server.start()
    await server.ready()

    async with asyncio.timeout(60):
        while not seen.of("publication"):
            try:
                await node.publish("chat:1", {"back": True})
            except RealtimeUnavailableError:
                await asyncio.sleep(0.05)  # a real server: asked until it is back
            else:
                await asyncio.sleep(0.05)
    assert seen.of("publication")[0].pub.data == {"back": True}
    assert len(ann.watch.of("connected")) == 1
    await room.publish({"also": "mine"})
    await server.stop()


async def test_rights_lost_while_redis_is_away(platform, spawn, connect, tmp_path):
    """Deletions and roles are heard of on every node without Redis: nobody is subscribed any more when it is back."""
    server = EmbeddedValkey(tmp_path / "data", run_folder(tmp_path), options={"appendonly": "no"})
    await server.start()
    await server.ready()
    platform.orders.owners["1"] = "ann"
    platform.permissions.granted.add(("ann", "ward:watch"))
    watches = []
    for node in (await spawn(server.url), await spawn(server.url)):
        ann = await connect(node.url, platform.auth.token("ann"))
        watches += [watch for channel in ("orders:1", "ward:1") for _, watch in [await ann.subscribe(channel)]]
    await server.stop()
    platform.orders.owners["1"] = "bob"
    await platform.log.delete("orders", "1")
    platform.permissions.granted.clear()
    await platform.auth.change_roles()
    await server.start()
    await server.ready()
    for watch in watches:
        assert (await watch.wait("subscribing", 2)).code == 2502
        assert (await watch.wait("unsubscribed")).code == 103
    await server.stop()
