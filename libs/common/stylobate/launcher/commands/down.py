"""`stylobate down` and `reset`."""

import asyncio
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from stylobate.launcher.output import CommandError, console
from stylobate.launcher.project import Project

_GRACE = timedelta(seconds=10)


def down() -> None:
    """Stop the supervisor and, where it was killed, what it left behind. Fine when nothing runs."""
    project = Project(Path.cwd())
    if project.running() is None:
        console().print("nothing is running here")
        return
    asyncio.run(_stop(project))
    console().print("stopped")


def reset(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Remove `.stylobate` after a question. Raises CommandError while the platform runs."""
    project = Project(Path.cwd())
    if project.alive() is not None:
        raise CommandError("the platform is running; `stylobate down` first")
    if not project.data.exists():
        console().print("there is no local data here")
        return
    if not yes:
        typer.confirm(f"remove {project.data} with its databases and secrets?", abort=True)
    asyncio.run(_stop(project))
    shutil.rmtree(project.data)
    console().print(f"removed {project.data}")


async def _stop(project: Project) -> None:
    """Stop the supervisor and, where it was killed, what it left behind."""
    if (running := project.running()) is None:
        return
    await running.supervisor.stop(_GRACE)
    for child in reversed(running.children):
        await child.stop()
    project.forget()
