"""Redis Cluster and Sentinel over TLS, with servers that speak it themselves."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from stylobate.config import ConfigError
from stylobate.errors import RedisUnavailableError
from stylobate.health import Status
from stylobate.redis import RedisManager, Script
from stylobate.testing.until import until

from tests.deploy.redis_tls import TlsCluster, TlsSentinels, of
from tests.deploy.servers import redis_program

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(redis_program() is None, reason="needs the system's Redis: apt install redis-server"),
]


async def test_a_cluster_speaks_tls(tmp_path: Path) -> None:
    """Commands, scripts and channels go to every node over TLS; a node that is killed is replaced by its replica.

    A certificate that nobody trusts, and plain text, are refused in one line.
    """
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with of(TlsCluster, tmp_path).running(tmp_path, replicas=1, options={"requirepass": "s3cret"}) as cluster:
        with pytest.raises(ConfigError, match="certificate is not trusted"):
            async with RedisManager.open(cluster.url.partition("?")[0]):
                pass
        with pytest.raises(ConfigError, match=r"it speaks TLS: its URL begins with rediss\+cluster://"):
            async with RedisManager.open(cluster.url.replace("rediss", "redis").partition("?")[0]):
                pass
        async with RedisManager.open(cluster.url) as redis:
            await redis.subscribe(["n1", "n2", "n3"], lambda name, _: heard.put_nowait(name), is_exact=True)
            for number in range(20):
                assert await redis.call("SET", f"k{number}", "1") == b"OK"
                assert await redis.run(Script("return redis.call('INCR', KEYS[1])"), [f"k{number}"]) == 2
            assert [await redis.publish(name, b"x") for name in ("n1", "n2", "n3")] == [1, 1, 1]
            assert {await heard.get() for _ in range(3)} == {"n1", "n2", "n3"}
            await cluster.all("WAIT", 1, 1000, of=slice(3))
            cluster.nodes[0].process.kill()

            async def all_can_be_read() -> bool:
                with suppress(RedisUnavailableError):
                    return [await redis.call("GET", f"k{number}") for number in range(20)] == [b"2"] * 20
                return False

            await until(all_can_be_read)
            await until(redis.health, lambda found: found.status is Status.HEALTHY)


async def test_a_master_behind_sentinels_speaks_tls(tmp_path: Path) -> None:
    """Sentinels are asked over TLS, and so is the master that they name; killed, the next one is found, over TLS as well."""
    async with of(TlsSentinels, tmp_path).running(tmp_path) as servers:
        with pytest.raises(ConfigError, match="certificate is not trusted"):
            async with RedisManager.open(servers.url.partition("&ssl_ca_certs")[0]):
                pass
        async with RedisManager.open(servers.url) as redis:
            assert await redis.call("SET", "key", "1") == b"OK"
            await until(lambda: redis.call("WAIT", 1, 100))
            servers.servers[0].process.kill()

            async def counted() -> object:
                with suppress(RedisUnavailableError):
                    return await redis.call("INCR", "key")
                return None

            assert await until(counted) == 2
            await until(redis.health, lambda found: found.status is Status.HEALTHY)
