"""Workers are replaced while clients connect."""

import asyncio
import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform
from stylobate.testing.until import wait_until

from tests.conftest import SHOP

WITHIN = timedelta(seconds=60)
PER_SECOND = 50
GIVEN = "HTTP/1.1 200 OK"


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """Give a platform of two workers, which the last test stops."""
    unheld = {"STYLOBATE_RATELIMIT_EDGE_IP": "6000/second"}  # all come from one address here
    with Platform.run(tmp_path_factory.mktemp("workers"), "--workers", "2", modules=[SHOP], environ=unheld) as platform:
        yield platform


def connect_again_and_again(address: str, done: Event) -> list[str]:
    """Ask over a new connection each time; return the request ids."""
    ids = []
    while not done.is_set():
        with httpx.Client(base_url=address, timeout=30, verify=NO_TLS) as client:
            answer = client.get("/.well-known/jwks.json")
            assert answer.status_code == 200, answer.text
            ids.append(answer.headers["x-request-id"])
    return ids


def service_pids(platform: Platform) -> set[int]:
    """Return the workers' process ids."""
    return {child.pid for name, child in platform.children.items() if name.startswith("platform")}


def test_no_connection_is_lost_when_a_worker_ends(workers):
    """SIGTERM to one of two, twice: whoever connects meanwhile is answered by one of those that live. No id is given twice."""
    done = Event()
    with ThreadPoolExecutor() as pool:
        asking = [pool.submit(connect_again_and_again, workers.gateway, done) for _ in range(3)]
        for name in ("platform-0", "platform-1"):
            ended = workers.children[name]
            os.kill(ended.pid, signal.SIGTERM)
            assert wait_until(lambda ended=ended: not ended.is_running, WITHIN)
            workers.wait_healthy(WITHIN)
        done.set()
        ids = [found for one in asking for found in one.result()]
    assert len(ids) > 5
    assert len({found[-12:] for found in ids}) == len(ids)  # the random part: processes forked from one must not share it


async def answered(address: str) -> str:
    """Ask over a new connection; return the answer's first line, with the whole answer unless it is 200, or what became of it."""
    where = urlsplit(address)
    try:
        async with asyncio.timeout(WITHIN.total_seconds()):
            reader, writer = await asyncio.open_connection(where.hostname, where.port)
            try:
                writer.write(b"GET /.well-known/jwks.json HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
                line = head.partition("\r\n")[0]
                return line if line == GIVEN else f"{line}: {body}"
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        return f"{type(error).__name__}: {error}"


async def test_three_restarts_lose_nobody(workers):
    """`stylobate restart` comes back when all are others; of 50 new connections a second meanwhile each is answered."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    async def arrive() -> list[asyncio.Task[str]]:
        began, tasks = loop.time(), []
        while not done.is_set():  # at their own pace, however long the answers take
            tasks.append(asyncio.create_task(answered(workers.gateway)))
            await asyncio.sleep(began + len(tasks) / PER_SECOND - loop.time())
        return tasks

    arriving, took = asyncio.create_task(arrive()), []
    for _ in range(3):
        before, began = service_pids(workers), loop.time()
        said = await asyncio.to_thread(workers.command, "restart")
        took.append(round(loop.time() - began, 1))
        assert (said.returncode, said.stdout.strip()) == (0, "restarted"), said.stderr
        assert not before & service_pids(workers)
    done.set()
    tasks = await arriving
    outcomes = Counter(await asyncio.gather(*tasks))
    print(f"{len(tasks)} connections in restarts of {took} s: {dict(outcomes)}")  # noqa: T201  the figure
    assert outcomes == {GIVEN: len(tasks)}
    assert len(tasks) > 3 * PER_SECOND / 10


def test_a_killed_fork_server_is_begun_again(workers):
    """Its workers end with it; a new one, executed by the supervisor instead of forked, starts others."""
    before = service_pids(workers)
    (server,) = {psutil.Process(pid).ppid() for pid in before}
    assert server != workers.pid
    os.kill(server, signal.SIGKILL)
    assert wait_until(lambda: len(now := service_pids(workers)) == len(before) and not before & now, WITHIN)
    workers.wait_healthy(WITHIN)
    assert len({psutil.Process(pid).ppid() for pid in service_pids(workers)} - {server}) == 1


def test_a_terminal_that_is_closed_stops_it_like_ctrl_c(workers):
    """SIGHUP drains and ends everything."""
    processes = workers.processes()
    os.kill(workers.pid, signal.SIGHUP)
    assert wait_until(lambda: not workers.is_running, WITHIN)
    assert "stopped" in workers.output.read_text()
    assert wait_until(lambda: not any(process.is_running() for process in processes), WITHIN)
