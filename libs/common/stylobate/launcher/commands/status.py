"""`stylobate status`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from stylobate.launcher.output import console, show_addresses
from stylobate.launcher.project import Project
from stylobate.launcher.standing import ask, ask_elsewhere, complaints_of, found_by, left_out, standing

_COLOURS = {"healthy": "green", "degraded": "yellow", "unhealthy": "red"}


def status(
    as_json: Annotated[bool, typer.Option("--json")] = False,
    admin: Annotated[str, typer.Option(help="The admin listener of a process elsewhere: `127.0.0.1:8081`.")] = "",
) -> None:
    """Ask the admin listener and show what it says; exit 1 unless every service is ready and every module runs."""
    running = None if admin else Project(Path.cwd()).alive()
    answer = ask_elsewhere(admin) if admin else ask(running)
    if as_json:
        console().print_json(data=answer)
    elif not answer["running"]:
        console().print("nothing is running here; `stylobate up` starts it")
    else:
        head = f"{answer['mode']}, pid {answer['pid']}" if running else f"{answer['node']} at {admin}"
        _show(head, answer)
    raise typer.Exit(0 if answer["ready"] and not left_out(answer) else 1)


def _show(head: str, answer: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("service", "process", "status", "details"):
        table.add_column(heading)
    processes = answer.get("processes") or {answer.get("node", ""): answer}
    for process, said in processes.items():
        for name, health in said.get("services", {process: {"status": "unhealthy", "details": said.get("phase", "")}}).items():
            colour = _COLOURS[health["status"]]
            table.add_row(name, process, f"[{colour}]{health['status']}[/{colour}]", escape(health["details"]))
    console().print(f"{head}, {standing(answer)}")
    console().print(table)
    for line in found_by(answer):
        console().print(f"[dim]{escape(line)}[/dim]", soft_wrap=True, highlight=False)
    for line in complaints_of(answer):
        console().print(f"[yellow]{escape(line)}[/yellow]", soft_wrap=True)
    show_addresses(answer["endpoints"])
