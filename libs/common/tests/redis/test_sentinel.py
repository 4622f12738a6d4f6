"""A master behind Sentinels: found by its name, and found again when it is another one."""

import asyncio
from contextlib import suppress

import pytest
from stylobate.config import ConfigError
from stylobate.errors import RedisUnavailableError
from stylobate.health import Status
from stylobate.redis import RedisManager
from stylobate.testing.until import until
from stylobate.testing.valkey_sentinel import ValkeySentinels


async def _call(redis, *command):
    with suppress(RedisUnavailableError):
        return await redis.call(*command)


async def test_the_next_master_is_found(tmp_path, caplog):
    """After kill -9 of the master all goes to the one that Sentinels made of the replica; a Sentinel that is down is passed over.

    A name that they do not know, a wrong password and a URL of another kind are refused in one line.
    """
    heard, back = asyncio.Queue(), asyncio.Event()
    async with ValkeySentinels.running(tmp_path) as servers:
        url = servers.url.replace("@", "@127.0.0.1:1,", 1)
        with pytest.raises(ConfigError, match=r"Sentinel 127.0.0.1:\d+ knows no master of that name, 'store': it watches shop"):
            async with RedisManager.open(url.replace("/shop", "/store")):
                pass
        with pytest.raises(ConfigError, match=r"Sentinel 127.0.0.1:\d+: .*(WRONGPASS|invalid)"):
            async with RedisManager.open(url.replace("wh0-watches", "wr0ng")):
                pass
        with pytest.raises(ConfigError, match=r"it is a Sentinel: its URL begins with redis\+sentinel://"):
            async with RedisManager.open(f"redis://:{servers.sentinel_password}@127.0.0.1:{servers.sentinel_ports[0]}"):
                pass
        async with RedisManager.open(url) as redis:
            await redis.subscribe(["news"], lambda _, payload: heard.put_nowait(payload), is_exact=True, on_reconnect=back.set)
            assert await redis.call("SET", "key", "1") == b"OK"
            await until(lambda: redis.call("WAIT", 1, 100))
            health = await redis.health()
            assert (health.status, health.metrics["sentinel_connected"]) == (Status.HEALTHY, 1.0)
            servers.servers[0].process.kill()
            await until(redis.health, lambda found: found.status is Status.DEGRADED)
            assert await until(lambda: _call(redis, "INCR", "key")) == 2
            await asyncio.wait_for(back.wait(), 60)
            await until(lambda: redis.publish("news", b"again"))
            assert await heard.get() == b"again"
            await until(redis.health, lambda found: found.status is Status.HEALTHY)
    assert not any(word in caplog.text for word in (servers.password, servers.sentinel_password, "wr0ng"))


async def test_a_master_that_was_replaced_alive_is_left(tmp_path):
    """When Sentinels make another one the master, connections to the old one are left for it."""
    async with ValkeySentinels.running(tmp_path) as servers, RedisManager.open(servers.url) as redis:
        assert await redis.call("SET", "key", "before") == b"OK"
        await until(lambda: redis.call("WAIT", 1, 100))

        async def is_begun():
            with suppress(RuntimeError):  # it takes the replica for a bad one until it has asked it twice
                return await servers.call(0, "SENTINEL", "FAILOVER", servers.name)

        await until(is_begun)
        async with RedisManager.open(f"redis://:{servers.password}@127.0.0.1:{servers.ports[1]}") as new:
            await until(lambda: _call(new, "ROLE"), lambda role: role is not None and role[0] == b"master")

            async def is_written():
                await _call(redis, "SET", "key", "after")
                return await _call(new, "GET", "key") == b"after"

            await until(is_written)
