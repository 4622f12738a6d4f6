"""The supervisor: what dies is started again, what can never start is said."""

import asyncio
import sys
from pathlib import Path

import pytest
from stylobate.launcher.embedded import ChildProcess, EmbeddedServerError
from stylobate.launcher.supervisor import Supervisor


def _child(folder: Path, code: str) -> ChildProcess:
    return ChildProcess("a-child", [sys.executable, "-c", code], log=folder / "child.log")


async def test_a_process_that_ends_at_once_again_and_again_is_said(tmp_path: Path) -> None:
    """Waiting for readiness ends with the last words of the process that never gets there, not in a loop without a word."""
    async with Supervisor.open() as supervisor:
        supervisor.start_service(_child(tmp_path, "print('no room left')"))
        never = asyncio.Event()
        with pytest.raises(EmbeddedServerError, match=r"a-child ended 5 times at its start: no room left"):
            await supervisor.until(_forever(never))


async def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    """After a kill -9 another process runs in its place, and whoever records the children hears of it."""
    made = _child(tmp_path, "import time; time.sleep(60)")
    changed = asyncio.Event()
    async with Supervisor.open(changed.set) as supervisor:
        supervisor.start_service(made)
        (first,) = supervisor.children
        changed.clear()
        made.kill()
        async with asyncio.timeout(30):
            await changed.wait()
        (second,) = supervisor.children
        assert second.pid != first.pid
    assert not second.is_running


async def _forever(event: asyncio.Event) -> None:
    await event.wait()
