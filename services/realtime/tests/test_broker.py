"""The broker's contract, over every adapter, with two nodes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from stylobate.health import Status
from stylobate.idempotency import Answer, Claim, KeyTakenError
from stylobate.ids import new_id
from stylobate.launcher.embedded import EmbeddedValkey, run_folder
from stylobate.redis import RedisManager
from stylobate.testing.until import until
from stylobate_realtime.broker import Broadcast, Broker
from stylobate_realtime.broker.redis import RedisBroker
from stylobate_realtime.errors import RealtimeUnavailableError
from stylobate_realtime.protocol.messages import ClientInfo

from .memory_broker import MemoryBroker, MemoryBus

PATIENCE_S = 60.0
TIMEOUT = timedelta(milliseconds=300)


class End:
    """One node's end of the broker, with what it heard."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.heard: list[tuple[str, Broadcast]] = []
        self._more = asyncio.Event()
        broker.attach(self._hear)

    def _hear(self, topic: str, broadcast: Broadcast) -> None:
        self.heard.append((topic, broadcast))
        self._more.set()

    async def wait(self, count: int) -> list[tuple[str, Broadcast]]:
        """Return what was heard, once it is that many."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.heard) < count:
                self._more.clear()
                await self._more.wait()
        return self.heard


def _said(text: str) -> Broadcast:
    return Broadcast("publication", f'"{text}"'.encode())


@pytest.fixture(params=["memory", "redis", "cluster"])
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[tuple[End, End]]:
    """Give two nodes."""
    if request.param == "memory":
        bus = MemoryBus()
        yield End(MemoryBroker(bus)), End(MemoryBroker(bus))
        return
    is_cluster = request.param == "cluster"
    url = request.getfixturevalue("valkey_cluster").url if is_cluster else request.getfixturevalue("redis_url")
    async with AsyncExitStack() as stack:
        yield await _redis_end(stack, url), await _redis_end(stack, url)


async def _redis_end(stack: AsyncExitStack, url: str) -> End:
    redis = await stack.enter_async_context(RedisManager.open(url))
    return End(await stack.enter_async_context(RedisBroker.open(redis, TIMEOUT)))


async def test_every_subscribed_node_hears_everything_in_order(ends):
    """What one node publishes after another's subscribe returned reaches that node, whole and in order."""
    here, there = ends
    await here.broker.subscribe("default:chat:1")
    await there.broker.subscribe("default:chat:1")
    sent = [_said(str(n)) for n in range(200)]
    await asyncio.gather(*(here.broker.publish("default:chat:1", broadcast) for broadcast in sent))
    assert await here.wait(200) == [("default:chat:1", broadcast) for broadcast in sent]
    assert await there.wait(200) == [("default:chat:1", broadcast) for broadcast in sent]


async def test_everything_about_a_broadcast_arrives(ends):
    """Kind, payload bytes, author and tags come through unchanged."""
    here, there = ends
    await there.broker.subscribe("default:chat:1")
    sent = [
        Broadcast("publication", b'{"b": 1,  "a":\n1.0}', ClientInfo("ann", "c1"), {"lang": "de"}),
        Broadcast("join", info=ClientInfo("bob", "c2")),
        Broadcast("leave", info=ClientInfo("bob", "c2")),
    ]
    for broadcast in sent:
        await here.broker.publish("default:chat:1", broadcast)
    assert [broadcast for _, broadcast in await there.wait(3)] == sent


async def test_other_topics_and_tenants_are_not_heard(ends):
    """A node hears its topics only: not a longer name, not the same channel of another tenant, not what it unsubscribed."""
    here, there = ends
    await there.broker.subscribe("default:chat:1")
    await there.broker.subscribe("default:chat:2")
    there.broker.unsubscribe("default:chat:2")
    await there.broker.subscribe("default:end")  # acknowledged behind the unsubscribe
    for topic in ("default:chat:11", "other:chat:1", "default:chat:2", "default:chat:1", "default:end"):
        await here.broker.publish(topic, _said(topic))
    assert [topic for topic, _ in await there.wait(2)] == ["default:chat:1", "default:end"]


async def test_subscribing_again_right_after_unsubscribing_holds(ends):
    """Subscribe, unsubscribe, subscribe without a pause ends subscribed."""
    here, there = ends
    for _ in range(20):
        await there.broker.subscribe("default:chat:1")
        there.broker.unsubscribe("default:chat:1")
    await there.broker.subscribe("default:chat:1")
    await here.broker.publish("default:chat:1", _said("there"))
    assert len(await there.wait(1)) == 1


async def test_redis_that_goes_away_pauses_and_comes_back(tmp_path):
    """Without Redis publishing and subscribing say so; once it is back, what was subscribed is heard again by itself."""
    server = EmbeddedValkey(tmp_path / "data", run_folder(tmp_path), options={"appendonly": "no"})
    await server.start()
    await server.ready()
    async with AsyncExitStack() as stack:
        end = await _redis_end(stack, server.url)
        await end.broker.subscribe("default:chat:1")
        assert (await end.broker.health()).status is Status.HEALTHY

        await server.stop()
        with pytest.raises(RealtimeUnavailableError):
            await end.broker.publish("default:chat:1", _said("lost"))
        with pytest.raises(RealtimeUnavailableError):
            await end.broker.subscribe("default:chat:2")
        assert (await end.broker.health()).status is Status.DEGRADED

        await server.start()
        await server.ready()
        async with asyncio.timeout(60):
            while not end.heard:
                with suppress(RealtimeUnavailableError):
                    await end.broker.publish("default:chat:1", _said("back"))
                await asyncio.sleep(0.02)  # a real server: asked until it is back
        await end.broker.subscribe("default:chat:2")
        await end.broker.publish("default:chat:2", _said("new"))
        async with asyncio.timeout(PATIENCE_S):
            while ("default:chat:2", _said("new")) not in end.heard:
                await end.wait(len(end.heard) + 1)
    await server.stop()


async def test_a_key_is_published_once_whoever_sends_it(ends):
    """Of any number at a time, by both nodes, one is carried; the others learn what it was answered."""
    here, there = ends
    now = datetime.now(UTC)
    keys = [Claim("default", "ops/", "Publish", new_id(), b"r" * 32, now, now + timedelta(hours=1), lambda _: b"a") for _ in "12"]
    await there.broker.subscribe("default:chat:1")
    assert await here.broker.find(keys[0]) is None

    async def publish(number: int) -> bool:
        try:
            await ends[number % 2].broker.publish("default:chat:1", _said(str(number)), keys[number % 3 // 2])
        except KeyTakenError:
            return False
        return True

    passed = await asyncio.gather(*map(publish, range(30)))
    assert sum(passed) == 2
    await here.broker.publish("default:chat:1", _said("end"))
    heard = await there.wait(3)
    carried = sorted(broadcast.data for _, broadcast in heard[:2])
    assert carried == sorted(f'"{n}"'.encode() for n, has in enumerate(passed) if has)
    assert heard[2] == ("default:chat:1", _said("end"))
    for node in ends:
        assert [await node.broker.find(key) for key in keys] == [Answer(b"r" * 32, b"a")] * 2
    assert await here.broker.find(replace(keys[0], tenant="acme")) is None


async def test_an_answer_is_gone_when_its_time_is_over(redis_url):
    """Then the key may be used again."""
    async with AsyncExitStack() as stack:
        end = await _redis_end(stack, redis_url)
        now = datetime.now(UTC)
        claim = Claim("default", "ops/", "Publish", new_id(), b"r" * 32, now, now + timedelta(milliseconds=30), lambda _: b"")
        await end.broker.publish("default:chat:1", _said("once"), claim)

        async def is_gone() -> bool:
            return await end.broker.find(claim) is None

        await until(is_gone)
        await end.broker.publish("default:chat:1", _said("twice"), claim)
