"""`stylobate logs`."""

import asyncio
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from stylobate.launcher.environment import SERVERS
from stylobate.launcher.log_files import LogFiles, LogLine
from stylobate.launcher.log_text import readable
from stylobate.launcher.output import CommandError, console
from stylobate.launcher.project import Project

_PAUSE_S = 0.1
_WORTH_SHOWING = ("warning", "error", "critical")


def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0)] = 40,
    as_json: Annotated[bool, typer.Option("--json", help="As they are written, one object a line.")] = False,
) -> None:
    """Print the last lines of all log files by time, then what comes when following. Ctrl-C ends it."""
    folder = Project(Path.cwd()).logs
    if not folder.is_dir():
        raise CommandError("there are no logs here yet; `stylobate up` writes them")
    output = console()

    def show(line: LogLine) -> None:
        if not as_json:
            output.print(readable(line), soft_wrap=True)
        elif line.facts is not None:
            typer.echo(line.text)

    with closing(LogFiles(folder)) as files:
        try:
            found = files.fresh()
            for line in found[max(0, len(found) - lines) :]:
                show(line)
            while follow:
                time.sleep(_PAUSE_S)
                for line in files.fresh():
                    show(line)
        except KeyboardInterrupt:
            return


async def show_work(project: Project) -> None:
    """Print what a developer wants to see while it happens: requests, warnings, tracebacks, what a module prints."""
    output = console()
    with closing(LogFiles(project.logs)) as files:
        files.fresh()  # what was logged before
        while True:
            await asyncio.sleep(_PAUSE_S)
            for line in files.fresh():
                if _is_worth_showing(line):
                    output.print(readable(line, is_brief=True), soft_wrap=True)


def _is_worth_showing(line: LogLine) -> bool:
    if line.facts is None:
        return line.source not in {*SERVERS, "up", "forkserver"}
    return line.facts.get("logger") == "access" or line.facts.get("level") in _WORTH_SHOWING
