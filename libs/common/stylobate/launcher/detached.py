"""The platform in the background: started, waited for, and what is said of it where somebody reads."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from stylobate.launcher.lasting import PLATFORM, command_line
from stylobate.launcher.output import CommandError, print_line
from stylobate.launcher.ports import Layout
from stylobate.launcher.project import Project
from stylobate.launcher.standing import ask
from stylobate.launcher.up_options import UpOptions


async def invite(layout: Layout) -> None:
    """Print how the first administrator comes to be, where there is none yet."""
    from stylobate.launcher.first_admin import told_at_start  # noqa: PLC0415  calls auth: the supervisor does nothing else like it

    if text := await told_at_start(layout.endpoints["gateway"]):
        print_line("\n".join(f"  {line}" for line in text.splitlines()))
        print_line("")


def start(project: Project, options: UpOptions) -> None:
    """Start the platform in a session of its own and wait until it is ready. Raises CommandError with its last words."""
    project.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    output = project.logs / "up.out"
    with output.open("wb") as file:
        child = subprocess.Popen(  # noqa: S603  ourselves
            command_line(PLATFORM, replace(options, is_read=False).arguments()),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_ready(project, child, output)
    except KeyboardInterrupt:
        child.terminate()  # it is not a part of the terminal's group any more
        child.wait()
        raise


def _wait_until_ready(project: Project, child: "subprocess.Popen[bytes]", output: Path) -> None:
    """Pass on what the child prints until its record says that it has been ready, and its admin port that it is."""
    shown = 0
    while True:
        code = child.poll()  # before its last words are read
        running = project.running()
        is_ready = running is not None and running.supervisor.pid == child.pid and running.is_ready and ask(running)["ready"]
        text = output.read_text(encoding="utf-8", errors="replace")
        sys.stdout.write(text[shown:])
        sys.stdout.flush()
        shown = len(text)
        if is_ready:
            return
        if code is not None:
            raise CommandError(f"it ended with code {code}; see {output}")
        time.sleep(0.05)
