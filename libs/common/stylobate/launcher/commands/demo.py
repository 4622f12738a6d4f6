"""`stylobate demo`."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from stylobate.launcher.foreign import stay_on_this_machine
from stylobate.launcher.output import CommandError, console
from stylobate.launcher.project import Project

if TYPE_CHECKING:
    from stylobate.launcher.demo import Journey


def demo(
    gateway: Annotated[str, typer.Option(help="HTTP address of a platform elsewhere.")] = "",
    realtime: Annotated[str, typer.Option(help="Its WebSocket address; unset: /v1/realtime at the gateway.")] = "",
) -> None:
    """Play the journey; exit 1 at the first step that does not hold."""
    if not gateway:
        stay_on_this_machine(os.environ)
    try:
        from stylobate.launcher.demo import Journey  # noqa: PLC0415  its clients are an extra
    except ModuleNotFoundError as error:
        raise CommandError(f"{error.name} is missing: pip install 'stylobate[demo]'") from error
    if gateway:
        where = gateway
        realtime = realtime or f"ws{gateway.removeprefix('http').rstrip('/')}/v1/realtime"
    else:
        running = Project(Path.cwd()).demand("`--gateway` for a platform elsewhere")
        where = f"{running.endpoints['gateway']} ({running.mode})"
        gateway, realtime = running.endpoints["gateway"], running.endpoints["realtime"]
    if not asyncio.run(_play(where, Journey(gateway, realtime))):
        raise typer.Exit(1)


async def _play(where: str, journey: "Journey") -> bool:
    from stylobate.launcher.demo import StepFailedError  # noqa: PLC0415

    out = console()
    out.print(f"a customer's journey against {where}\n")
    try:
        async for title, seen in journey.play():
            out.print(f"  [green]✓[/green] {title:<38} [dim]{escape(seen)}[/dim]", soft_wrap=True)
    except StepFailedError as error:
        out.print(f"  [red]✗[/red] {error.step:<38} {escape(error.seen)}", soft_wrap=True)
        return False
    out.print("\nevery step held")
    return True
