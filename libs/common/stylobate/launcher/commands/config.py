"""`stylobate config`."""

import os
from pathlib import Path

import typer

from stylobate.app import HostSettings
from stylobate.config import Resolved, Sources
from stylobate.declarations import load_declarations
from stylobate.launcher.environment import LocalServers
from stylobate.launcher.output import console
from stylobate.launcher.project import Project
from stylobate.launcher.setting_findings import findings, settings_here, unknown
from stylobate.vault import with_vault

config = typer.Typer()


@config.command()
def explain() -> None:
    """Print every setting of every service, its value (secrets masked) and where it came from."""
    from rich.table import Table  # noqa: PLC0415  `serve` needs what is below alone

    from stylobate.modules.secrets import explained_secrets  # noqa: PLC0415
    from stylobate.modules.settings import explained  # noqa: PLC0415  brings more along than the other command needs

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("service", "setting", "value", "from"):
        table.add_column(heading, overflow="fold")
    sources, shown = _sources(), set[Resolved]()
    for name, kind in settings_here().items():
        for resolved in kind.resolve(sources)[1]:
            if resolved not in shown:  # a shared one once, and again where a service has its own
                table.add_row(name, resolved.name, resolved.value, _origin(resolved))
            if resolved.name in HostSettings.model_fields:
                shown.add(resolved)
    for module in load_declarations(HostSettings.value("modules", sources)).modules:
        for resolved in explained(module, sources.environ):
            table.add_row(f"module {module.name}", resolved.name, resolved.value, resolved.origin)
        for resolved in explained_secrets(module, sources):
            table.add_row(f"module {module.name}", resolved.name, resolved.value, resolved.origin)
    console().print(table)


@config.command()
def check() -> None:
    """Exit non-zero when a setting cannot be used or a secret is missing."""
    found = findings(_sources())
    for finding in found:
        typer.echo(f"error: {finding}")
    for warning in unknown(os.environ):
        typer.echo(f"warning: {warning}")
    if found:
        raise typer.Exit(1)
    console().print("the settings are fine")


def _origin(resolved: Resolved) -> str:
    kind, _, variable = resolved.origin.partition(" ")
    return "set by `stylobate up`" if kind == "environment" and variable not in os.environ else resolved.origin


def _sources() -> Sources:
    """Return this process's sources; in a project with what `up` sets and generates there in development."""
    project = Project(Path.cwd())
    if project.data.is_dir():
        own = Sources(environ=LocalServers.of(project).environment(), generated=project.data / "secrets")
    else:
        own = Sources.of_process(project.data if (project.folder / "modules").is_dir() else None)
    return with_vault(own)[0]
