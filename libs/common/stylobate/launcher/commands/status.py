"""`stylobate status`."""

from pathlib import Path
from typing import Any

import httpx
import typer
from rich.table import Table

from stylobate.launcher.faces import addresses, console
from stylobate.launcher.project import Project, Running

_COLOURS = {"healthy": "green", "degraded": "yellow", "unhealthy": "red"}


def status(*, as_json: bool) -> None:
    """Ask the admin listener and show what it says; exit 1 unless every service is ready."""
    running = Project(Path.cwd()).running()
    answer = ask(running)
    if as_json:
        console().print_json(data=answer)
    elif running is None or not answer["running"]:
        console().print("nothing is running here; `stylobate up` starts it")
    else:
        _show(running, answer)
    raise typer.Exit(0 if answer["ready"] else 1)


def ask(running: Running | None) -> dict[str, Any]:
    """Return ``{running, ready, mode, endpoints, …}`` with the admin listener's answer."""
    if running is None or not running.supervisor.is_running:
        return {"running": False, "ready": False}
    base = {"running": True, "pid": running.supervisor.pid, "mode": running.mode, "endpoints": running.endpoints}
    base["children"] = [{"name": child.name, "pid": child.pid} for child in running.children]
    try:
        said: dict[str, Any] = httpx.get(f"{running.endpoints['admin']}/status", timeout=5).json()
    except (httpx.TransportError, ValueError):
        return base | {"ready": False, "status": "unhealthy", "phase": "starting"}
    return base | said


def _show(running: Running, answer: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("service", "process", "status", "details"):
        table.add_column(heading)
    processes = answer.get("processes") or {answer.get("node", ""): answer}
    for process, said in processes.items():
        for name, health in said.get("services", {process: {"status": "unhealthy", "details": said.get("phase", "")}}).items():
            colour = _COLOURS[health["status"]]
            table.add_row(name, process, f"[{colour}]{health['status']}[/{colour}]", health["details"])
    console().print(f"{running.mode}, pid {running.supervisor.pid}, {'ready' if answer['ready'] else 'not ready'}")
    console().print(table)
    console().print(addresses(running.endpoints))
