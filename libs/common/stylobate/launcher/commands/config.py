"""`stylobate config`."""

from pathlib import Path

import typer
from rich.table import Table

from stylobate.app import HostSettings, installed_services
from stylobate.config import ConfigError, Settings, Sources
from stylobate.launcher.faces import console
from stylobate.launcher.project import Project


def explain() -> None:
    """Show each setting, its value and its origin; shared settings once."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("service", "setting", "value", "from"):
        table.add_column(heading, overflow="fold")
    for name, kind in _settings().items():
        for resolved in kind.resolve(_sources())[1]:
            if name == "(all)" or resolved.name not in Settings.model_fields:
                table.add_row(name, resolved.name, resolved.value, resolved.origin)
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


def _sources() -> Sources:
    """Return this process's sources; in a project with the secrets that `up` generates in development."""
    project = Project(Path.cwd())
    is_project = project.data.is_dir() or (project.folder / "modules").is_dir()
    return Sources.of_process(project.data if is_project else None)
