"""`stylobate modules`."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from stylobate.declarations import load_declarations
from stylobate.declarations.model import Severity
from stylobate.declarations.recorded import check_recorded
from stylobate.declarations.recorded import record as write_down
from stylobate.launcher.commands.new_module import new
from stylobate.launcher.output import console

modules = typer.Typer()
modules.command()(new)


@modules.command("list")
def listing() -> None:
    """List the modules of this project."""
    from stylobate.declarations.sources import packages_of  # noqa: PLC0415
    from stylobate.modules.coded import with_code  # noqa: PLC0415  imports the modules' code

    coded = with_code(load_declarations(_folders()), packages_of(_folders()), also_broken=False)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("module", "version", "actions", "state", "channels", "description"):
        table.add_column(heading)
    for module in (found.declaration for found in coded):
        table.add_row(
            module.name,
            module.version,
            ", ".join(action.name for action in module.actions),
            ", ".join(namespace.name for namespace in module.namespaces),
            ", ".join(channel.name for channel in module.channels),
            module.description,
        )
    console().print(table)


@modules.command()
def check(
    start: Annotated[bool, typer.Option(help="Initialize each module once too, in a process of its own.")] = True,
    record: Annotated[
        bool, typer.Option("--record", help="Write down what namespaces are like now; later changes are held to it.")
    ] = False,
) -> None:
    """Print every finding about the modules with file and line; exit non-zero when there is an error."""
    from stylobate.declarations.sources import packages_of  # noqa: PLC0415
    from stylobate.modules.check import check_modules  # noqa: PLC0415  imports the modules' code
    from stylobate.modules.rehearsal import rehearse  # noqa: PLC0415

    findings = rehearse(_folders(), _start_within(), _environ()) if start else check_modules(_folders())
    declared = load_declarations(_folders()).modules
    if not record:
        findings += [finding for module in declared for finding in check_recorded(module)]
    for finding in findings:
        typer.echo(f"{finding.severity}: {finding}")
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    if errors:
        raise typer.Exit(1)
    packaged = packages_of(_folders()) if record else {}
    for file in (
        filter(None, (write_down(module) for module in declared if module.folder.resolve() not in packaged)) if record else ()
    ):
        console().print(f"recorded in {file}")
    console().print("the modules are fine" if not findings else "no errors")


def _environ() -> dict[str, str]:
    """Return this process's environment, with the Vault that `up --vault` runs in this project: secrets may stand there."""
    from stylobate.launcher.environment import LocalServers  # noqa: PLC0415  takes longer to import than `list` runs
    from stylobate.launcher.project import Project  # noqa: PLC0415

    vault = LocalServers.of(Project(Path.cwd())).vault
    return (vault.environment() if vault is not None else {}) | dict(os.environ)


def _start_within() -> timedelta:
    """Return how long the actions service would wait for a module to initialize."""
    from stylobate.config import Sources  # noqa: PLC0415
    from stylobate.services import installed_services  # noqa: PLC0415  takes longer to import than the other command runs

    spec = installed_services().get("actions")
    found: timedelta = spec.settings.value("module_start_timeout", Sources.of_process()) if spec else timedelta(seconds=10)
    return found


def _folders() -> str:
    return os.environ.get("STYLOBATE_MODULES", str(Path("modules")))
