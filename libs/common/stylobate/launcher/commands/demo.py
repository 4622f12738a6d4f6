"""`stylobate demo`."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from stylobate.launcher.faces import CommandError, console
from stylobate.launcher.foreign import stay_on_this_machine
from stylobate.launcher.project import Project, Running

if TYPE_CHECKING:
    from stylobate.launcher.demo import Journey


def demo() -> None:
    """Play the journey against this project's running platform; exit 1 at the first step that does not hold."""
    stay_on_this_machine(os.environ)
    try:
        from stylobate.launcher.demo import Journey  # noqa: PLC0415  its clients are an extra
    except ModuleNotFoundError as error:
        raise CommandError(f"{error.name} is missing: pip install 'stylobate[demo]'") from error
    running = Project(Path.cwd()).running()
    if running is None or not running.supervisor.is_running:
        raise CommandError("nothing is running here; `stylobate up` first")
    if not asyncio.run(_play(running, Journey(running.endpoints["gateway"], running.endpoints["realtime"]))):
        raise typer.Exit(1)


async def _play(running: Running, journey: "Journey") -> bool:
    from stylobate.launcher.demo import StepFailedError  # noqa: PLC0415

    out = console()
    out.print(f"a customer's journey against {running.endpoints['gateway']} ({running.mode})\n")
    try:
        async for title, seen in journey.play():
            out.print(f"  [green]✓[/green] {title:<38} [dim]{escape(seen)}[/dim]", soft_wrap=True)
    except StepFailedError as error:
        out.print(f"  [red]✗[/red] {error.step:<38} {escape(error.seen)}", soft_wrap=True)
        return False
    out.print("\nevery step held")
    return True
