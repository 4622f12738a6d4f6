"""A Cluster whose masters die, and who is let in."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack, suppress

import pytest
from stylobate.config import ConfigError
from stylobate.errors import RedisUnavailableError
from stylobate.health import Status
from stylobate.redis import RedisManager, Script
from stylobate.redis.slots import slot_of
from stylobate.testing.until import until
from stylobate.testing.valkey_cluster import ValkeyCluster

from .tls import tls_in_front_of

PASSWORD = "s3cret"


@pytest.fixture
async def cluster(tmp_path):
    """Give three masters, each with a replica, that this test may kill; they ask for a password."""
    async with ValkeyCluster.running(tmp_path, options={"requirepass": PASSWORD}) as cluster:
        yield cluster


async def test_the_replica_of_a_killed_master_is_found(cluster, caplog):
    """Other masters' keys are served throughout; the dead one's are again once its replica took over, its channels too."""
    heard, back = asyncio.Queue(), asyncio.Event()
    keys = {cluster.node_of(slot_of(f"k{n}")): f"k{n}" for n in range(99)}
    async with RedisManager.open(cluster.url) as redis:
        await redis.subscribe([keys[0]], lambda _, payload: heard.put_nowait(payload), is_exact=True, on_reconnect=back.set)
        for key in keys.values():
            await redis.call("SET", key, key)
        await until(lambda: cluster.call(3, "DBSIZE"))
        cluster.nodes[0].process.kill()
        await until(redis.health, lambda found: found.status is Status.DEGRADED)
        assert "master of slots 0-" in (await redis.health()).details
        with pytest.raises(RedisUnavailableError):
            await redis.call("GET", keys[0])
        assert await redis.call("GET", keys[1]) == keys[1].encode()
        await until(redis.health, lambda found: found.status is Status.HEALTHY)
        assert await redis.call("GET", keys[0]) == keys[0].encode()
        await asyncio.wait_for(back.wait(), 60)
        assert await redis.publish(keys[0], b"again") == 1
        assert await heard.get() == b"again"
    assert caplog.text.count("redis_cluster_incomplete") == 1
    assert PASSWORD not in caplog.text


@pytest.mark.soak
async def test_a_master_that_hangs_is_given_up(cluster):
    """One that takes connections and is silent is left for its replica, like a dead one; nothing is lost when it is back."""
    key = next(f"k{n}" for n in range(99) if cluster.node_of(slot_of(f"k{n}")) == 1)
    async with RedisManager.open(cluster.url) as redis:
        await redis.call("SET", key, "1")
        pid = cluster.nodes[1].process.pid
        os.kill(pid, signal.SIGSTOP)
        try:

            async def is_served():
                with suppress(RedisUnavailableError):
                    return await redis.call("INCR", key)

            await until(is_served)
        finally:
            os.kill(pid, signal.SIGCONT)
        await until(lambda: cluster.call(1, "ROLE"), lambda role: role[0] == b"slave")
        assert await redis.call("INCR", key) == 3


async def test_tls_is_spoken_with_every_node(tmp_path, certificate):
    """Each node is reached where it says, over TLS that is verified: commands, scripts, channels by name and by pattern."""
    heard = asyncio.Queue()
    options = {"requirepass": PASSWORD}
    async with ValkeyCluster.running(tmp_path, replicas=0, options=options) as cluster, AsyncExitStack() as stack:
        ports = [await stack.enter_async_context(tls_in_front_of(node.socket, certificate)) for node in cluster.nodes]
        for number, port in enumerate(ports):
            await cluster.call(number, "CONFIG", "SET", "cluster-announce-port", port)

        async def all_say_so():
            return all([{port for _, port in (await cluster.slots(number)).counts} == set(ports) for number in range(3)])

        await until(all_say_so)
        url = f"rediss+cluster://:{PASSWORD}@127.0.0.1:{ports[0]}"
        async with RedisManager.open(f"{url}?ssl_ca_certs={certificate / 'cert.pem'}") as redis:
            await redis.subscribe(["n1", "n2", "n3"], lambda name, _: heard.put_nowait(name), is_exact=True)
            await redis.subscribe(["p:*"], lambda name, _: heard.put_nowait(name))
            for n in range(20):
                assert await redis.call("SET", f"k{n}", "1") == b"OK"
                assert await redis.run(Script("return redis.call('INCR', KEYS[1])"), [f"k{n}"]) == 2
            assert [await redis.publish(name, b"x") for name in ("n1", "n2", "n3")] == [1, 1, 1]
            await redis.publish_all([("p:1", b"x")])
            assert {await heard.get() for _ in range(4)} == {"n1", "n2", "n3", "p:1"}
        with pytest.raises(ConfigError, match="certificate is not trusted"):
            async with RedisManager.open(url):
                pass
        with pytest.raises(ConfigError, match=r"it speaks TLS: its URL begins with rediss\+cluster://"):
            async with RedisManager.open(url.replace("rediss", "redis")):
                pass


async def test_who_is_not_let_in_is_told(tmp_path):
    """A wrong password, none, or a user who may not ask who has which slots: one line, without the password."""
    told = {"default:wr0ng@": "WRONGPASS", "": "NOAUTH", "few:pw@": "no permissions to run the 'cluster"}
    async with ValkeyCluster.running(tmp_path, masters=1, replicas=0, options={"requirepass": PASSWORD}) as one:
        await one.call(0, "ACL", "SETUSER", "few", "on", ">pw", "~*", "&*", "+@all", "-cluster|slots")
        for user, said in told.items():
            with pytest.raises(ConfigError, match=said) as refused:
                async with RedisManager.open(one.url.replace(f":{PASSWORD}@", user)):
                    pass
            assert "STYLOBATE_REDIS_URL" in str(refused.value)
            assert "wr0ng" not in str(refused.value)
