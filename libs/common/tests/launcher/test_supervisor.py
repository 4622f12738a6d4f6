"""The supervisor: what dies is started again, what can never start is said."""

import asyncio
import sys
from pathlib import Path

import pytest
from stylobate.app import Placement
from stylobate.launcher import supervisor as under_test
from stylobate.launcher.embedded import ChildProcess, EmbeddedServerError
from stylobate.launcher.supervisor import Supervisor


def _child(folder: Path, code: str) -> ChildProcess:
    return ChildProcess("a-child", [sys.executable, "-c", code], log=folder / "child.log")


async def test_a_process_that_ends_at_once_again_and_again_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for readiness ends with the last words of the process that never gets there, not in a loop without a word."""
    made = _child(tmp_path, "print('no room left')")
    monkeypatch.setattr(under_test, "service_process", lambda *_: made)  # which program runs is not what is tested here
    async with Supervisor.open() as supervisor:
        await supervisor.start_service(Placement(services=("state",)), {}, tmp_path)
        never = asyncio.Event()
        with pytest.raises(EmbeddedServerError, match=r"a-child ended 5 times at its start: no room left"):
            await supervisor.until(_forever(never))


async def test_a_killed_process_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a kill -9 another process runs in its place, and whoever records the children hears of it."""
    made = _child(tmp_path, "import time; time.sleep(60)")
    monkeypatch.setattr(under_test, "service_process", lambda *_: made)
    changed = asyncio.Event()
    async with Supervisor.open(changed.set) as supervisor:
        await supervisor.start_service(Placement(services=("state",)), {}, tmp_path)
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
