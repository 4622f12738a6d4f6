"""Child processes, with real ones."""

import os
import signal
import sys
from datetime import timedelta

import psutil
import pytest
from stylobate.launcher.embedded import ChildProcess, EmbeddedServerError, ProcessRecord
from stylobate.testing.until import until

_MOMENT = timedelta(milliseconds=200)
_LOAD = "import signal, time, os, sys; "


def _python(tmp_path, code, **options):
    return ChildProcess("child", [sys.executable, "-c", _LOAD + code], log=tmp_path / "log", **options)


async def _said(child, text):
    await until(lambda: text in child.last_words(), within_s=60)


async def test_a_child_writes_to_its_file_and_is_waited_for(tmp_path):
    """Output and errors stand in the file, the end comes with its code."""
    child = _python(tmp_path, "print('out', flush=True); print('err', file=sys.stderr); sys.exit(3)")
    child.start()
    assert await child.wait() == 3
    assert child.last_words() == "out | err"
    assert (child.is_running, child.returncode) == (False, 3)


async def test_a_child_has_a_group_of_its_own(tmp_path):
    """A Ctrl-C in the terminal reaches the supervisor alone."""
    child = _python(tmp_path, "time.sleep(60)")
    child.start()
    assert os.getpgid(child.pid) == child.pid != os.getpgid(0)
    await child.stop()
    assert child.returncode == -signal.SIGTERM


async def test_a_child_that_will_not_listen_is_killed_with_its_group(tmp_path):
    """Past the grace the child and what it started are gone."""
    code = "signal.signal(15, signal.SIG_IGN); pid = os.fork(); print('pid', pid, flush=True) if pid else None; time.sleep(60)"
    child = _python(tmp_path, code)
    child.start()
    await _said(child, "pid")
    grandchild = psutil.Process(int(child.last_words().split()[1]))
    await child.stop(_MOMENT)
    assert child.returncode == -signal.SIGKILL
    await _gone(grandchild)


async def _gone(process):
    await until(lambda: not (process.is_running() and process.status() != psutil.STATUS_ZOMBIE), within_s=60)


async def test_a_restart_ends_what_a_killed_child_left(tmp_path):
    """Started again after a crash, nothing of the former life runs beside it."""
    child = _python(tmp_path, "pid = os.fork(); print('pid', pid, flush=True) if pid else None; time.sleep(60)")
    child.start()
    await _said(child, "pid")
    orphan = psutil.Process(int(child.last_words().split()[1]))
    child.kill()
    await child.wait()
    assert orphan.is_running()
    child.start()
    await _gone(orphan)
    await child.stop()


async def test_a_record_finds_its_process_and_no_other(tmp_path):
    """A record from a former supervisor stops that very process; the same pid with another start time is left alone."""
    answers = "signal.signal(signal.SIGUSR1, lambda *_: print('alive', flush=True)); print('ready', flush=True)"
    short = "[time.sleep(0.05) for _ in range(1200)]"  # a signal that comes just before a sleep is answered after it
    child = _python(tmp_path, f"{answers}; {short}")
    child.start()
    await _said(child, "ready")
    record = child.record
    other = ProcessRecord(record.name, record.pid, record.started - 10)
    assert (record.is_running, other.is_running) == (True, False)
    await other.stop()
    record.process().send_signal(signal.SIGUSR1)
    await _said(child, "alive")  # what is being killed may look alive for a moment
    await record.stop()
    assert not record.is_running
    await child.wait()


async def test_a_command_that_is_not_there_is_one_line(tmp_path):
    """No traceback for a program that cannot be executed."""
    child = ChildProcess("child", [str(tmp_path / "absent")], log=tmp_path / "log")
    try:
        child.start()
    except EmbeddedServerError as error:
        assert "absent" in str(error)  # noqa: PT017  where no wrapper stands before the command, it fails here
        return
    assert await child.wait() != 0
    assert "absent" in child.last_words()


async def test_a_big_log_is_put_aside(tmp_path):
    """A log does not grow without end over many starts."""
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    child = _python(tmp_path, "print('fresh')")
    child.start()
    await child.wait()
    assert log.read_text() == "fresh\n"
    assert (tmp_path / "log.1").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the system's protection against orphans is Linux's")
async def test_children_die_with_a_killed_parent(tmp_path):
    """Kill -9 of the supervisor leaves no server behind."""
    code = f"""
from pathlib import Path
from stylobate.launcher.embedded import ChildProcess
child = ChildProcess("inner", ["sleep", "60"], log=Path({str(tmp_path / "inner")!r}))
child.start()
print("pid", child.pid, flush=True)
time.sleep(60)
"""
    parent = ChildProcess("parent", [sys.executable, "-c", _LOAD + code], log=tmp_path / "log")
    parent.start()
    await _said(parent, "pid")
    inner = psutil.Process(int(parent.last_words().split()[1]))
    await until(lambda: inner.name() == "sleep", within_s=60)
    parent.kill()
    await parent.wait()
    await _gone(inner)
