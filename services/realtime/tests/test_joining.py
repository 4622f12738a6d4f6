"""Publications that come in while a subscribe is under way."""

import asyncio
import json
from datetime import timedelta

import pytest
from stylobate.redis import RedisManager
from stylobate.testing.until import until
from stylobate_realtime.broker.redis import RedisBroker


async def test_what_comes_in_before_the_reply_follows_it(platform, stage):
    """Publications between the broker's acknowledgement and the reply to the subscribe come behind the reply, in order."""
    talk = await stage.connected("ann")
    platform.presence.gate.clear()
    talk.session.receive(json.dumps({"id": 2, "subscribe": {"channel": "chat:1"}}).encode())
    await until(lambda: [s for s in talk.session.subscriptions.values() if s.is_present])
    for number in range(5):
        await stage.manager.publish("default", "chat:1", str(number).encode(), {})
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(talk.socket.messages()) == 1  # the reply to connect
    platform.presence.gate.set()
    await talk.settle()
    reply, *pushes = talk.socket.messages()[1:]
    assert reply == {"id": 2, "subscribe": {}}
    assert [push["push"]["pub"]["data"] for push in pushes] == [0, 1, 2, 3, 4]


async def test_too_much_before_the_reply_is_refused(platform, staged):
    """More than the queue holds is not kept and not shortened: the subscribe is refused for now, and leaves nothing behind."""
    stage = staged(queue_bytes=65_536)
    talk = await stage.connected("ann")
    platform.presence.gate.clear()
    talk.session.receive(json.dumps({"id": 2, "subscribe": {"channel": "chat:1"}}).encode())
    await until(lambda: [s for s in talk.session.subscriptions.values() if s.is_present])
    for _ in range(10):
        await stage.manager.publish("default", "chat:1", json.dumps("x" * 10_000).encode(), {})
    await asyncio.sleep(0)
    platform.presence.gate.set()
    await talk.settle()
    (refused,) = talk.socket.messages()[1:]
    assert refused["error"] == {"code": 100, "message": "internal server error", "temporary": True}
    assert not talk.session.subscriptions
    assert not platform.presence.now("default:chat:1")
    assert (await talk.say({"id": 3, "subscribe": {"channel": "chat:1"}}))[-1] == {"id": 3, "subscribe": {}}


@pytest.mark.parametrize("protobuf", [False, True], ids=["json", "protobuf"])
async def test_no_gap_while_others_publish(platform, serve, connect, redis_url, protobuf):
    """Of numbers published without pause each subscriber, whenever it came, gets every one from its first to the last."""
    async with (
        RedisManager.open(redis_url) as redis,
        RedisBroker.open(redis, timedelta(seconds=2)) as broker,
        serve(broker=broker) as node,
    ):
        people = [await connect(node.url, platform.auth.token(f"u{n}"), use_protobuf=protobuf) for n in range(10)]
        last = -1
        enough = asyncio.Event()

        async def publish() -> None:
            nonlocal last
            while not enough.is_set():
                last += 1
                await node.publish("chat:gap", last)

        publishing = asyncio.create_task(publish())
        watches = [watch for person in people for _, watch in [await person.subscribe("chat:gap")]]
        await until(lambda: last >= 500)
        enough.set()
        await publishing
        for watch in watches:
            await until(lambda got=watch: int(got.of("publication")[-1].pub.data) == last)
            numbers = [int(context.pub.data) for context in watch.of("publication")]
            assert numbers == list(range(numbers[0], last + 1))
