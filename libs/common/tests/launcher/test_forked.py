"""Processes forked from one that has imported everything: started, told apart, told how they ended."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import orjson
import pytest
from stylobate.app import Placement
from stylobate.identity import generate_service_keys
from stylobate.launcher.forked import ForkServer
from stylobate.testing.plain_http import NO_TLS


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ForkServer]:
    """Give a fork server whose children know no database."""
    generate_service_keys(tmp_path / "identity")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("STYLOBATE_")}
    environ |= {"STYLOBATE_IDENTITY_FOLDER": str(tmp_path / "identity"), "STYLOBATE_REDIS_URL": "redis://127.0.0.1:1/0"}
    made = ForkServer(environ, tmp_path)
    made.start()
    yield made
    await made.stop()


def limiter(server_run: Path, node: str) -> Placement:
    """Return a placement of one service that starts without any server."""
    return Placement(services=("ratelimit",), addresses={"auth": "127.0.0.1:1"}, admin=f"unix:{server_run}/{node}", node=node)


async def node_of(server_run: Path, name: str) -> str:
    """Return what the process says of itself once it answers."""
    async with asyncio.timeout(60):
        while True:
            try:
                async with httpx.AsyncClient(
                    transport=httpx.AsyncHTTPTransport(uds=f"{server_run}/{name}", verify=NO_TLS)
                ) as client:
                    return orjson.loads((await client.get("http://admin/status")).content)["node"]
            except httpx.TransportError:
                await asyncio.sleep(0.05)


async def test_children_live_apart_and_their_ends_are_told(server, server_run, tmp_path) -> None:
    """Each has its session, log and name; one that is killed, one that stops, and one that cannot begin are told apart."""
    killed, stopped = (server.child(limiter(server_run, name)) for name in ("one", "two"))
    for child in (killed, stopped):
        child.start()
        assert await node_of(server_run, child.name) == child.name
    assert len({os.getsid(0), os.getsid(killed.pid), os.getsid(stopped.pid)}) == 3
    killed.kill()
    assert await killed.wait() == -signal.SIGKILL
    assert stopped.is_running
    await stopped.stop()
    assert stopped.returncode == 0
    assert '"event":"ready"' not in (tmp_path / "one.out").read_text()  # the log is a file of its own
    hopeless = server.child(Placement(services=("auth",), node="three"))
    hopeless.start()
    assert await hopeless.wait() == 2
    assert "error: " in hopeless.last_words(1)
    killed.start()
    assert await node_of(server_run, "one") == "one"
    await killed.stop()


async def test_a_server_that_was_killed_is_begun_again(server, server_run) -> None:
    """Its children end with it and are told as killed; the next fork starts another server."""
    child = server.child(limiter(server_run, "one"))
    child.start()
    await node_of(server_run, "one")
    os.kill(server.pid, signal.SIGKILL)
    assert await child.wait() != 0
    child.start()
    assert await node_of(server_run, "one") == "one"
    await child.stop()
