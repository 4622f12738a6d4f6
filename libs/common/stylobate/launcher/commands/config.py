"""`stylobate config`."""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

import typer

from stylobate.app import HostSettings
from stylobate.config import ConfigError, Resolved, Settings, Sources
from stylobate.database.address import is_mongodb
from stylobate.declarations import load_declarations
from stylobate.launcher.environment import LocalServers
from stylobate.launcher.output import console
from stylobate.launcher.project import Project, services_here
from stylobate.services import installed_services
from stylobate.vault import with_vault

_PREFIX = "STYLOBATE_"
_OF_THE_LAUNCHER = (
    "STYLOBATE_LISTEN",
    "STYLOBATE_SERVICES",
    "STYLOBATE_GRPC_PORT",
    "STYLOBATE_HTTP_PORT",
    "STYLOBATE_ADMIN_PORT",
    "STYLOBATE_LOG_FILE",
)


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
    for name, kind in _settings().items():
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


def findings(sources: Sources) -> list[str]:
    """Return what is wrong with any service's settings, each finding once."""
    found: dict[str, None] = {}
    for kind in _settings().values():
        try:
            url = getattr(kind.load(sources), "database_url", "")
            if is_mongodb(url):
                from stylobate.database.mongodb.manager import client_of  # noqa: PLC0415  its driver, for whoever has one

                client_of(url, "stylobate-check")  # which connects nowhere until it is asked
        except ConfigError as error:
            found |= dict.fromkeys(error.findings)
    return list(found)


def unknown(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each variable that looks like a setting but is not: a mistyped name would be ignored otherwise."""
    services = [spec.settings for spec in installed_services().values()]
    known = set(_OF_THE_LAUNCHER) | {f"STYLOBATE_{name}".upper() for name in HostSettings.model_fields}
    known |= {f"STYLOBATE_{kind.service}_{name}".upper() for kind in services for name in kind.model_fields}
    known |= {f"STYLOBATE_{kind.service}_ADDRESS".upper() for kind in services}
    lines = []
    for name in sorted(environ):
        if name.startswith(_PREFIX) and name not in known and not name.startswith("STYLOBATE_MODULE_"):
            near = get_close_matches(name.removeprefix(_PREFIX), (other.removeprefix(_PREFIX) for other in known), n=1)
            lines.append(f"{name} is not a setting" + (f"; did you mean {_PREFIX}{near[0]}?" if near else ""))
    return lines


def _settings() -> dict[str, type[Settings]]:
    return {"(all)": HostSettings} | {name: spec.settings for name, spec in services_here().items()}


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
