"""Processes are kept running: started again when they die, with a growing wait, and stopped for good."""

import asyncio
import os
import signal
import sys
from datetime import timedelta
from time import monotonic

import pytest
from stylobate.launcher.embedded import ChildProcess, EmbeddedServerError
from stylobate.launcher.supervisor import Supervisor
from stylobate.testing.until import until


def child(tmp_path, code: str, name: str = "child") -> ChildProcess:
    """Return a process that runs Python code."""
    return ChildProcess(name, [sys.executable, "-S", "-c", code], log=tmp_path / f"{name}.out")


class _Server:
    """A server as the supervisor sees it, around one process."""

    def __init__(self, process: ChildProcess) -> None:
        self.process = process
        self.starts = 0
        self.started = asyncio.Event()

    async def start(self) -> None:
        self.starts += 1
        self.process.start()
        self.started.set()

    async def ready(self) -> None:
        """Be ready at once."""

    async def stop(self) -> None:
        await self.process.stop(timedelta(seconds=1))


class _Broken(_Server):
    async def ready(self) -> None:
        raise EmbeddedServerError("bad did not get ready")


async def begun_again(server: _Server) -> None:
    """Wait for the next start."""
    server.started.clear()
    await asyncio.wait_for(server.started.wait(), 60)


async def test_what_is_killed_is_started_again_and_recorded(tmp_path) -> None:
    """After `kill -9` there is a new process, and whoever keeps the record hears of it."""
    told = []
    server = _Server(child(tmp_path, "import time; time.sleep(60)"))
    async with Supervisor.open(lambda: told.append(None)) as supervisor:
        await supervisor.start_servers([server])
        (first,) = supervisor.children
        os.kill(first.pid, signal.SIGKILL)
        await begun_again(server)
        (second,) = supervisor.children
        assert second.pid != first.pid
        assert not first.is_running
        await until(lambda: len(told) >= 2)
    assert supervisor.children == ()
    assert not second.is_running


async def test_what_keeps_dying_is_started_ever_more_rarely(tmp_path) -> None:
    """A process that ends at once does not keep the machine busy."""
    server = _Server(child(tmp_path, "pass"))
    async with Supervisor.open() as supervisor:
        began = monotonic()
        await supervisor.start_servers([server])
        while server.starts < 5:
            await begun_again(server)
        assert monotonic() - began > (0.05 + 0.1 + 0.2 + 0.4) / 2  # half of each wait is left to chance


async def test_a_server_that_does_not_start_ends_all(tmp_path) -> None:
    """The error comes out, and the servers that did start are stopped."""
    good = _Server(child(tmp_path, "import time; time.sleep(60)", "good"))
    bad = _Broken(child(tmp_path, "pass", "bad"))
    with pytest.raises(ExceptionGroup) as caught:
        async with Supervisor.open() as supervisor:
            await supervisor.start_servers([good, bad])
    assert caught.group_contains(EmbeddedServerError)
    assert not good.process.is_running


@pytest.mark.parametrize(("code", "times"), [(2, 2), (1, 5)])
async def test_what_ends_at_its_start_is_given_up(tmp_path, code, times) -> None:
    """What says in one line what a person can mend will say so again: it is asked twice, and what fails otherwise more often."""
    process = child(tmp_path, f"print('error: no'); raise SystemExit({code})")
    async with Supervisor.open() as supervisor:
        supervisor.start_service(process)
        with pytest.raises(EmbeddedServerError, match=f"child ended {times} times at its start: error: no"):
            await supervisor.until(asyncio.Event().wait())
