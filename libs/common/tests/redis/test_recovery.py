"""What happens when the server is killed, not there, silent, or one of several."""

import asyncio
import socket
from datetime import timedelta

import pytest
from stylobate.errors import RedisUnavailableError
from stylobate.health import Status
from stylobate.launcher.embedded import EmbeddedValkey
from stylobate.redis import RedisManager, Script
from stylobate.testing.ports import free_ports
from stylobate.testing.until import until

_MOMENT = timedelta(milliseconds=100)
_ECHO = Script("return ARGV[1]")


@pytest.fixture
async def server(tmp_path, server_run):
    """Give a Valkey of this test's own, to be killed."""
    server = EmbeddedValkey(tmp_path / "valkey", server_run)
    await _started(server)
    yield server
    await server.stop()


async def _started(server):
    await server.start()
    await server.ready()


async def _answers(manager, status=Status.HEALTHY):
    await until(manager.health, lambda found: found.status is status, within_s=60)


async def test_a_script_hears_which_run_of_the_server_it_is_in(server):
    """The last argument is the server's run_id, also after it was started anew, and where the script has to be sent along."""
    script = Script("return {ARGV[#ARGV], string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')}", hears_run_id=True)
    async with RedisManager.open(server.url) as manager:
        runs = []
        for _ in range(2):
            heard, is_so = await manager.run(script, ["key"], ["argument"])
            assert heard == is_so
            runs.append(heard)
            server.process.kill()
            await server.process.wait()
            await _started(server)
            await _answers(manager)
        assert runs[0] != runs[1]


async def test_a_script_hears_nothing_where_the_server_does_not_tell(server):
    """A user who may not ask for it is let in all the same; the run is empty then."""
    async with RedisManager.open(server.url) as manager:
        await manager.call("ACL", "SETUSER", "few", "on", ">secret", "~*", "+@all", "-info")
    url = server.url.replace("unix://", "unix://few:secret@", 1)
    async with RedisManager.open(url) as manager:
        assert await manager.run(Script("return ARGV[1]", hears_run_id=True)) == b""


async def test_everything_works_again_after_a_kill(server):
    """After kill -9 commands fail at once while it is down; when it is back all parts work, nothing acknowledged is lost."""
    heard, returned = asyncio.Queue(), asyncio.Event()
    async with RedisManager.open(server.url) as manager:
        await manager.subscribe(["news"], lambda _, payload: heard.put_nowait(payload), on_reconnect=returned.set)
        await manager.call("SET", "kept", "1")
        assert await manager.run(_ECHO, [], ["one"]) == b"one"
        assert await manager.call("GET", "kept") == b"1"

        server.process.kill()
        await server.process.wait()
        await _answers(manager, Status.DEGRADED)
        for down in (manager.call("GET", "kept"), manager.run(_ECHO, [], ["x"])):
            with pytest.raises(RedisUnavailableError) as caught:
                await down
            assert caught.value.retry_after == timedelta(seconds=1)
        health = await manager.health()
        assert (health.status, health.metrics["connected"]) == (Status.DEGRADED, 0)

        await _started(server)
        await _answers(manager)
        assert await manager.call("GET", "kept") == b"1"
        assert await manager.run(_ECHO, [], ["two"]) == b"two"
        assert await manager.call("GET", "kept") == b"1"
        async with asyncio.timeout(60):
            await returned.wait()
            assert await manager.publish("news", b"again") == 1
            assert await heard.get() == b"again"


async def test_a_command_under_way_when_the_server_dies_is_told(server):
    """A caller that waits for a reply is not left waiting."""
    async with RedisManager.open(server.url) as manager:
        waiting = asyncio.create_task(manager.call("BLPOP", "nothing", "0"))
        await asyncio.sleep(0)
        server.process.kill()
        with pytest.raises(RedisUnavailableError):
            await waiting


async def test_opening_does_not_wait_for_a_server_that_is_down(server):
    """The platform starts without it, degraded, and uses it once it is there."""
    await server.stop()
    heard, returned = asyncio.Queue(), asyncio.Event()
    async with RedisManager.open(server.url) as manager:
        assert (await manager.health()).status is Status.DEGRADED
        await manager.subscribe(["news"], lambda _, payload: heard.put_nowait(payload), on_reconnect=returned.set)
        await _started(server)
        await _answers(manager)
        async with asyncio.timeout(60):
            await returned.wait()
            assert await manager.publish("news", b"first") == 1
            assert await heard.get() == b"first"


async def test_a_silent_server_is_given_up(unused_port_server):
    """A server that accepts and never answers costs the timeout, not forever."""
    async with RedisManager.open(f"redis://127.0.0.1:{unused_port_server}", connect_timeout=_MOMENT) as manager:
        with pytest.raises(RedisUnavailableError):
            await manager.call("PING")


async def test_a_server_that_falls_silent_is_given_up(server):
    """A command to a server that hangs fails after its timeout, and so does everything behind it on the connection."""
    async with RedisManager.open(server.url, command_timeout=_MOMENT) as manager:
        replies = await asyncio.gather(manager.call("BLPOP", "nothing", "0"), manager.call("PING"), return_exceptions=True)
        assert all(isinstance(reply, RedisUnavailableError) for reply in replies)
        await _answers(manager)


@pytest.fixture
def unused_port_server():
    """Give the port of a listener that never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def _subfolder(folder, name):
    (folder / name).mkdir()
    return folder / name


@pytest.fixture
async def pair(tmp_path, server_run):
    """Give a primary and its replica on loopback ports."""
    first = free_ports(2)
    ports = [first, first + 1]
    servers = [
        EmbeddedValkey(tmp_path / str(port), _subfolder(server_run, str(port)), options={"port": str(port), "bind": "127.0.0.1"})
        for port in ports
    ]
    for server in servers:
        await _started(server)
    yield servers, ports
    for server in servers:
        await server.stop()


async def test_of_several_hosts_the_primary_is_found_and_found_again(pair):
    """A replica in the list is passed over; after the primary died and the replica was promoted, writes go there."""
    (first, _), ports = pair
    hosts = ",".join(f"127.0.0.1:{port}" for port in reversed(ports))
    async with (
        RedisManager.open(f"redis://127.0.0.1:{ports[1]}/0") as second,
        RedisManager.open(f"redis://{hosts}/0", connect_timeout=_MOMENT * 10) as manager,
    ):
        await second.call("REPLICAOF", "127.0.0.1", ports[0])
        async with RedisManager.open(f"redis://{hosts}/0") as late:
            assert await late.call("SET", "key", "1") == b"OK"
        first.process.kill()
        await first.process.wait()
        await second.call("REPLICAOF", "NO", "ONE")
        await _answers(manager)
        assert await manager.call("SET", "key", "3") == b"OK"


async def test_a_primary_that_became_a_replica_is_left(pair):
    """When the roles change while connections stand, writes fail once and then go to the new primary."""
    (first, second), ports = pair
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    async with (
        RedisManager.open(first.url) as old,
        RedisManager.open(second.url) as new,
        RedisManager.open(f"redis://{hosts}/0") as manager,
    ):
        await new.call("REPLICAOF", "127.0.0.1", ports[0])
        assert await manager.call("SET", "key", "1") == b"OK"
        await new.call("REPLICAOF", "NO", "ONE")
        await old.call("REPLICAOF", "127.0.0.1", ports[1])
        with pytest.raises(RedisUnavailableError):
            await manager.call("SET", "key", "2")
        with pytest.raises(RedisUnavailableError):
            await old.call("SET", "key", "2")
        await _answers(manager)
        assert await manager.call("SET", "key", "3") == b"OK"
        assert await new.call("GET", "key") == b"3"
