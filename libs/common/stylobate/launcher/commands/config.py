"""`stylobate config`."""

import os
from pathlib import Path

import typer
from rich.table import Table

from stylobate.app import HostSettings, installed_services
from stylobate.config import ConfigError, Resolved, Settings, Sources
from stylobate.launcher.environment import LocalServers
from stylobate.launcher.faces import console
from stylobate.launcher.project import Project


def explain() -> None:
    """Show each setting, its value and its origin; a shared one once, and again for a service that has its own."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("service", "setting", "value", "from"):
        table.add_column(heading, overflow="fold")
    sources, shown = _sources(), set[Resolved]()
    for name, kind in _settings().items():
        for resolved in kind.resolve(sources)[1]:
            if resolved not in shown:
                table.add_row(name, resolved.name, resolved.value, _origin(resolved))
            if resolved.name in HostSettings.model_fields:
                shown.add(resolved)
    console().print(table)


def check() -> None:
    """Print what is wrong with any service's settings; exit 1 when something is."""
    found = findings(_sources())
    for finding in found:
        typer.echo(f"error: {finding}")
    if found:
        raise typer.Exit(1)
    console().print("the settings are fine")


def findings(sources: Sources) -> list[str]:
    """Return what is wrong with any service's settings, each finding once."""
    found: dict[str, None] = {}
    for kind in _settings().values():
        try:
            kind.load(sources)
        except ConfigError as error:
            found |= dict.fromkeys(error.findings)
    return list(found)


def _settings() -> dict[str, type[Settings]]:
    return {"(all)": HostSettings} | {name: spec.settings for name, spec in installed_services().items()}


def _origin(resolved: Resolved) -> str:
    kind, _, variable = resolved.origin.partition(" ")
    return "set by `stylobate up`" if kind == "environment" and variable not in os.environ else resolved.origin


def _sources() -> Sources:
    """Return this process's sources; in a project with what `up` sets and generates there in development."""
    project = Project(Path.cwd())
    if project.data.is_dir():
        return Sources(environ=LocalServers(project).environment(), generated=project.data / "secrets")
    return Sources.of_process(project.data if (project.folder / "modules").is_dir() else None)
