"""Passwords, users, databases and TLS, against a real server behind a TLS-terminating proxy."""

import asyncio
import datetime as dt
import os
import signal
from contextlib import suppress

import pytest
from stylobate.config import ConfigError
from stylobate.errors import RedisUnavailableError
from stylobate.health import Status
from stylobate.launcher.embedded import EmbeddedValkey
from stylobate.redis import RedisManager
from stylobate.testing.until import until

from .tls import tls_in_front_of


@pytest.fixture
async def server(tmp_path, server_run):
    """Give a server that asks for a password and has a user of its own."""
    server = EmbeddedValkey(tmp_path / "valkey", server_run, options={"requirepass": "s3cret"})
    await server.start()
    await server.ready()
    async with RedisManager.open(f"unix://:s3cret@{server.socket}") as manager:
        await manager.call("ACL", "SETUSER", "shop", "on", ">pw@", "~shop:*", "&*", "+@all")
    yield server
    await server.stop()


async def test_passwords_users_and_databases_count_for_every_way_in(server):
    """Commands and subscriptions are let in alike, into the database of the URL."""
    heard = asyncio.Queue()
    async with (
        RedisManager.open(f"unix://shop:pw%40@{server.socket}?db=2") as user,
        RedisManager.open(f"unix://:s3cret@{server.socket}?db=2") as administrator,
    ):
        await user.subscribe(["x"], lambda _, payload: heard.put_nowait(payload))
        await user.call("SET", "shop:a", "1")
        assert await user.call("GET", "shop:a") == await administrator.call("GET", "shop:a") == b"1"
        assert await administrator.publish("x", b"hello") == 1
        assert await heard.get() == b"hello"
        async with RedisManager.open(f"unix://:s3cret@{server.socket}") as other:
            assert await other.call("GET", "shop:a") is None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("unix://:wr0ng@{socket}", "WRONGPASS"),
        ("unix://stranger:wr0ng@{socket}", "WRONGPASS"),
        ("unix://{socket}", "NOAUTH"),
        ("unix://:s3cret@{socket}?db=99", "DB index"),
    ],
)
async def test_who_is_not_let_in_is_told_and_nobody_else(server, caplog, url, said):
    """It does not open: the error and the log say why, and the password stands nowhere."""
    with pytest.raises(ConfigError) as refused:
        async with RedisManager.open(url.format(socket=server.socket)):
            pass
    (finding,) = refused.value.findings
    assert "STYLOBATE_REDIS_URL" in finding
    assert said in finding
    assert caplog.text.count("redis_refuses") == 1
    assert not any(password in finding + caplog.text for password in ("wr0ng", "s3cret"))


@pytest.mark.parametrize("is_right", [True, False])
async def test_a_server_that_is_slow_at_first_is_not_taken_for_one_that_is_down(server, caplog, is_right):
    """What it says of a wrong password is heard all the same; with the right one it is used."""
    pid = server.process.pid
    os.kill(pid, signal.SIGSTOP)

    async def thaw():
        await until(lambda: "redis_unreachable" in caplog.text)
        os.kill(pid, signal.SIGCONT)

    thawing = asyncio.create_task(thaw())
    url = f"unix://:{'s3cret' if is_right else 'wr0ng'}@{server.socket}"
    opened = RedisManager.open(url, connect_timeout=dt.timedelta(seconds=1))
    if is_right:
        async with opened as manager, asyncio.timeout(60):
            await until(manager.health, lambda found: found.metrics["connected"])
    else:
        with pytest.raises(ConfigError, match="WRONGPASS"):
            async with opened:
                pass
    await thawing


async def test_a_password_that_is_changed_meanwhile_is_told(server, caplog):
    """The server is unavailable to us, log and health say why, and the password stands nowhere."""
    async with RedisManager.open(f"unix://:s3cret@{server.socket}") as manager:
        await manager.call("CONFIG", "SET", "requirepass", "another")
        with suppress(RedisUnavailableError):  # the connection may be gone before the answer
            await manager.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")
        await until(lambda: "redis_refuses" in caplog.text, within_s=60)
        for call in (manager.call("PING"), manager.publish("x", b"")):
            with pytest.raises(RedisUnavailableError):
                await call
        health = await manager.health()
    assert health.status is Status.UNHEALTHY
    assert "WRONGPASS" in health.details
    assert "s3cret" not in health.details + caplog.text


async def test_tls_is_verified_and_used_on_every_connection(server, certificate):
    """With the right authority all ways in work; without it the server is not trusted."""
    heard = asyncio.Queue()
    async with tls_in_front_of(server.socket, certificate) as port:
        url = f"rediss://:s3cret@127.0.0.1:{port}/1"
        async with RedisManager.open(f"{url}?ssl_ca_certs={certificate / 'cert.pem'}") as manager:
            await manager.subscribe(["x"], lambda _, payload: heard.put_nowait(payload))
            assert await manager.call("SET", "a", "1") == b"OK"
            assert await manager.call("GET", "a") == b"1"
            assert await manager.publish("x", b"hello") == 1
            assert await heard.get() == b"hello"
        with pytest.raises(ConfigError, match="certificate is not trusted"):
            async with RedisManager.open(url):
                pass
        with pytest.raises(ConfigError, match="it speaks TLS"):
            async with RedisManager.open(url.replace("rediss", "redis")):
                pass
        async with RedisManager.open(f"{url}?ssl_cert_reqs=none") as trusting:
            assert await trusting.call("GET", "a") == b"1"
