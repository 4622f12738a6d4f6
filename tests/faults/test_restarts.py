"""Workers are replaced while clients connect."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event

import httpx
import pytest
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform, wait_until

from tests.conftest import SHOP

WITHIN = timedelta(seconds=60)


@pytest.fixture
def workers(tmp_path):
    """Give a platform of two workers."""
    with Platform.run(tmp_path, "--workers", "2", modules=[SHOP]) as platform:
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


def test_restart_replaces_every_worker_and_loses_nobody(workers):
    """`stylobate restart` comes back when all are others; meanwhile somebody serves at any time."""
    done, before = Event(), service_pids(workers)
    with ThreadPoolExecutor() as pool:
        asking = [pool.submit(connect_again_and_again, workers.gateway, done) for _ in range(3)]
        said = workers.command("restart")
        done.set()
        for one in asking:
            one.result()
    assert (said.returncode, said.stdout.strip()) == (0, "restarted"), said.stderr
    assert not before & service_pids(workers)


def test_a_terminal_that_is_closed_stops_it_like_ctrl_c(workers):
    """SIGHUP drains and ends everything."""
    processes = workers.processes()
    os.kill(workers.pid, signal.SIGHUP)
    assert wait_until(lambda: not workers.is_running, WITHIN)
    assert "stopped" in workers.output.read_text()
    assert wait_until(lambda: not any(process.is_running() for process in processes), WITHIN)
