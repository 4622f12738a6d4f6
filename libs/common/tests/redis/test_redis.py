"""Commands, scripts, publications and subscriptions on a real server."""

import asyncio
from datetime import timedelta

import pytest
from redis.exceptions import ResponseError
from stylobate.errors import RedisUnavailableError
from stylobate.health import Status
from stylobate.redis import RedisManager, Script

INCREMENT = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")


async def test_replies_come_back_to_their_callers(redis: RedisManager):
    """Many callers share one connection and each gets its own reply."""
    await asyncio.gather(*(redis.call("SET", f"key:{n}", n) for n in range(500)))
    replies = await asyncio.gather(*(redis.call("GET", f"key:{n}") for n in range(500)))
    assert replies == [str(n).encode() for n in range(500)]
    assert await redis.call("GET", "nothing") is None


async def test_a_refused_command_harms_only_its_caller(redis):
    """An error reply reaches the caller that asked; its neighbours in the same write are served."""
    await redis.call("SET", "text", "x")
    wrong, right = await asyncio.gather(redis.call("INCR", "text"), redis.call("GET", "text"), return_exceptions=True)
    assert isinstance(wrong, ResponseError)
    assert right == b"x"


async def test_a_cancelled_caller_does_not_shift_replies(redis):
    """The reply to a caller that went away is thrown away, not given to the next one."""
    await redis.call("SET", "a", "1")
    gone = asyncio.create_task(redis.call("GET", "a"))
    await asyncio.sleep(0)
    gone.cancel()
    assert await redis.call("GET", "missing") is None
    assert await redis.call("GET", "a") == b"1"


async def test_a_script_is_loaded_where_it_is_unknown(redis):
    """A restarted or flushed server is sent the text again, by itself."""
    await redis.call("SCRIPT", "FLUSH")
    assert await redis.run(INCREMENT, ["n"], [5]) == 5
    assert await redis.run(INCREMENT, ["n"], [2]) == 7
    await redis.call("SCRIPT", "FLUSH")
    assert await redis.run(INCREMENT, ["n"], [1]) == 8


async def test_messages_arrive_in_order_and_only_those_that_match(redis):
    """A subscriber hears its patterns, whole and in the order of publication."""
    heard = asyncio.Queue()
    await redis.subscribe(["news:*", "one"], lambda channel, payload: heard.put_nowait((channel, payload)))
    assert await redis.publish("other", b"x") == 0
    for n in range(100):
        assert await redis.publish("news:a" if n % 2 else "one", str(n).encode() + b"\x00\xff") == 1
    got = [await heard.get() for _ in range(100)]
    assert got == [("news:a" if n % 2 else "one", str(n).encode() + b"\x00\xff") for n in range(100)]
    assert heard.empty()


async def test_patterns_come_and_go(redis):
    """What is added is heard from then on, what is removed no more; an added one is live when add returns."""
    heard = asyncio.Queue()
    subscription = await redis.subscribe(["a"], lambda channel, _: heard.put_nowait(channel))
    await subscription.add("b", timedelta(seconds=60))
    assert await redis.publish("b", b"") == 1
    assert await heard.get() == "b"
    subscription.remove("a")
    async with asyncio.timeout(60):
        while await redis.publish("a", b""):
            pass
    await subscription.close()
    async with asyncio.timeout(60):
        while await redis.publish("b", b""):
            pass


async def test_a_failing_callback_does_not_end_the_subscription(redis):
    """The next message is delivered after a callback that raised."""
    heard = asyncio.Queue()

    def callback(_, payload):
        heard.put_nowait(payload)
        if payload == b"bad":
            raise ValueError

    await redis.subscribe(["x"], callback)
    await redis.publish("x", b"bad")
    await redis.publish("x", b"good")
    assert [await heard.get(), await heard.get()] == [b"bad", b"good"]


async def test_a_full_server_is_an_unavailable_one(redis):
    """Out of memory is the server's state, not a defect of the caller."""
    await redis.call("SET", "filler", b"x" * 2_000_000)
    await redis.call("CONFIG", "SET", "maxmemory", "1mb")
    try:
        with pytest.raises(RedisUnavailableError) as caught:
            await redis.call("SET", "big", "x")
        assert "OOM" in caught.value.metadata["cause"]
    finally:
        await redis.call("CONFIG", "SET", "maxmemory", "0")
    assert (await redis.health()).status is Status.HEALTHY


async def test_messages_that_leave_together_arrive_in_their_order(redis):
    """Publishing many at once is publishing each; commands of others get their own replies in between."""
    heard = asyncio.Queue()
    await redis.subscribe(["news:*"], lambda channel, payload: heard.put_nowait((channel, payload)))
    messages = [(f"news:{n % 3}", str(n).encode()) for n in range(200)]
    before, faults, after = await asyncio.gather(redis.call("ECHO", "a"), redis.publish_all(messages), redis.call("ECHO", "b"))
    assert (before, faults, after) == (b"a", [], b"b")
    assert [await heard.get() for _ in messages] == messages


async def test_messages_whose_caller_went_away_shift_no_replies(redis):
    """The replies to what was published for nobody are thrown away."""
    gone = asyncio.create_task(redis.publish_all([("news", b"1"), ("news", b"2")]))
    await asyncio.sleep(0)
    gone.cancel()
    assert await redis.call("ECHO", "a") == b"a"


async def test_messages_that_could_not_be_published_are_told_one_by_one(redis_url):
    """Beyond the bound, and on a connection that breaks, each message has its error."""
    async with RedisManager.open(redis_url, max_pending=1) as manager:
        waiting = asyncio.create_task(manager.call("PING"))
        await asyncio.sleep(0)
        faults = await manager.publish_all([("news", b"1"), ("news", b"2")])
        assert [type(fault) for fault in faults] == [RedisUnavailableError] * 2
        await waiting
        broken = asyncio.create_task(manager.publish_all([("news", b"1")] * 3))
        await asyncio.sleep(0)
        manager._pipeline._link.abort("broken")
        assert [type(fault) for fault in await broken] == [RedisUnavailableError] * 3


async def test_commands_that_wait_are_bounded(redis_url):
    """Past the bound a command fails at once instead of queueing up."""
    async with RedisManager.open(redis_url, max_pending=3) as manager:
        replies = await asyncio.gather(*(manager.call("PING") for _ in range(5)), return_exceptions=True)
    assert replies[:3] == [b"PONG"] * 3
    assert all(isinstance(reply, RedisUnavailableError) for reply in replies[3:])
