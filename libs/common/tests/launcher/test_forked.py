"""Processes forked from one that has imported everything: started, told apart, told how they ended."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import orjson
import psutil
import pytest
from stylobate.app import Placement
from stylobate.identity.service_keys import generate_service_keys
from stylobate.launcher.forked import ForkServer
from stylobate.services import key_holders
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.until import until

EXPORTER = "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"
LAST_PID = Path("/proc/sys/kernel/ns_last_pid")


@asynccontextmanager
async def running(folder: Path, **more: str) -> AsyncIterator[ForkServer]:
    """Run a fork server whose children know no database; what is imported is told in the logs."""
    generate_service_keys(folder / "identity", key_holders())
    environ = {name: value for name, value in os.environ.items() if not name.startswith("STYLOBATE_")}
    environ |= {"STYLOBATE_IDENTITY_FOLDER": str(folder / "identity"), "STYLOBATE_REDIS_URL": "redis://127.0.0.1:1/0"}
    environ["PYTHONPROFILEIMPORTTIME"] = "1"
    made = ForkServer(environ | more, folder)
    made.start()
    yield made
    await made.stop()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ForkServer]:
    """Give a fork server."""
    async with running(tmp_path) as made:
        yield made


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


def sockets_of(pid: int) -> set[str]:
    """Return the sockets that a process holds; what it closes meanwhile is left out."""
    links = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.add(str(path.readlink()))
    return {link for link in links if link.startswith("socket:")}


async def test_children_live_apart_and_their_ends_are_told(server, server_run, tmp_path) -> None:
    """Each has its session, log, name and sockets; one that is killed, one that stops, one that cannot begin are told apart.

    Children of a server that was killed end with it and are told as killed; the next fork starts another server.
    """
    killed, stopped = (server.child(limiter(server_run, name)) for name in ("one", "two"))
    for child in (killed, stopped):
        child.start()
        assert await node_of(server_run, child.name) == child.name
    assert len({os.getsid(0), os.getsid(killed.pid), os.getsid(stopped.pid)}) == 3
    assert psutil.Process(server.pid).num_threads() == 1
    assert not sockets_of(killed.pid) & sockets_of(stopped.pid)
    assert not sockets_of(server.pid) & (sockets_of(killed.pid) | sockets_of(stopped.pid))
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
    assert EXPORTER not in (tmp_path / "forkserver.out").read_text()
    first = server.pid
    os.kill(first, signal.SIGKILL)
    assert await killed.wait() != 0
    killed.start()
    assert server.pid != first
    assert await node_of(server_run, "one") == "one"
    await killed.stop()


@pytest.fixture
def number_given() -> Iterator[Callable[[int], subprocess.Popen[bytes]]]:
    """Give what starts a stranger's process under a number that is free, a leader of its own group and session."""
    started: list[subprocess.Popen[bytes]] = []

    def give(pid: int) -> subprocess.Popen[bytes]:
        for _ in range(200):  # others start processes too
            try:
                LAST_PID.write_text(str(pid - 1))
            except OSError as error:
                pytest.skip(f"the number of the next process cannot be chosen here: {error}")
            started.append(subprocess.Popen(["sleep", "600"], start_new_session=True))
            if started[-1].pid == pid:
                return started[-1]
        pytest.skip("somebody else got the number")

    yield give
    for process in started:
        process.kill()
        process.wait()


async def test_a_number_that_became_another_process_is_left_alone(server, server_run, number_given) -> None:
    """With its server dead a child's number is free: whoever gets it is not signalled, and does not count as the child."""
    child, stopped = (server.child(limiter(server_run, name)) for name in ("one", "two"))
    for one in (child, stopped):
        one.start()
        await node_of(server_run, one.name)
    record = child.record
    os.kill(server.pid, signal.SIGKILL)
    await until(lambda: not any(psutil.pid_exists(one.pid) for one in (child, stopped)), within_s=60)
    strangers = [number_given(one.pid) for one in (child, stopped)]
    child.kill()
    assert not child.is_running
    assert await asyncio.wait_for(child.wait(), 60) == -signal.SIGKILL
    await stopped.stop()
    await record.stop()
    record.end_group()
    child.start()  # ends what is left of its former group
    assert await node_of(server_run, "one") == "one"
    assert [stranger.poll() for stranger in strangers] == [None, None]
    await child.stop()


async def test_what_sends_traces_is_imported_once(server_run: Path, tmp_path: Path) -> None:
    """Before the forks, and only where the settings name a collector; a child imports none of it."""
    async with running(tmp_path, STYLOBATE_TRACE_ENDPOINT="http://127.0.0.1:1") as server:
        child = server.child(limiter(server_run, "one"))
        child.start()
        await node_of(server_run, "one")
        assert EXPORTER in (tmp_path / "forkserver.out").read_text()
        assert EXPORTER not in (tmp_path / "one.out").read_text()
        await child.stop()
