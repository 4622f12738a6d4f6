"""A command that tests fork behaves as one that is executed."""

import os
import signal
import subprocess
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from stylobate.testing import commands
from stylobate.testing.until import wait_until

WITHIN = timedelta(seconds=30)
ANEW = pytest.mark.parametrize("is_anew", [False, True], ids=["forked", "anew"])


@ANEW
def test_streams_folder_environment_and_code_are_its_own(project, is_anew) -> None:
    """It reads its input, sees its folder and settings, and ends with the code of what happened."""

    def run(*arguments: str, stdin: str = "", **environ: str) -> tuple[int, str, str]:
        done = commands.run(*arguments, folder=project.folder, environ=os.environ | environ, stdin=stdin, is_anew=is_anew)
        return done.returncode, done.stdout, done.stderr

    project.data.mkdir()
    assert run("reset", stdin="n\n")[0] == 1
    assert project.data.exists()
    code, said, errors = run("reset", stdin="y\n")
    assert (code, errors) == (0, "")
    assert "[y/N]" in said
    assert not project.data.exists()
    assert "STYLOBATE_DRAIN_WAIT" in run("config", "check", STYLOBATE_DRAIN_WAIT="soon")[1]
    code, said, errors = run("logs")
    assert (code, said) == (2, "")
    assert errors.startswith("error: there are no logs here yet")
    assert run("no", "such", "command")[0] == 2


@ANEW
def test_its_life_is_seen(project, is_anew) -> None:
    """It has a session of its own, and it is told whether a signal ended it."""
    (project.folder / ".stylobate" / "logs").mkdir(parents=True)
    (project.folder / ".stylobate" / "logs" / "platform.log").touch()
    with Path(os.devnull).open("r+b") as nothing:
        streams = (nothing, nothing, nothing)
        command = commands.start("logs", "-f", folder=project.folder, environ=os.environ, streams=streams, is_anew=is_anew)
    assert command.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        command.wait(0.01)
    assert wait_until(lambda: os.getsid(command.pid) == command.pid, WITHIN)
    command.send_signal(signal.SIGKILL)
    assert command.wait(30) == command.poll() == -signal.SIGKILL
    assert wait_until(lambda: not psutil.pid_exists(command.pid), WITHIN)  # told first, taken from the system's table then
    command.send_signal(signal.SIGKILL)  # nothing any more
