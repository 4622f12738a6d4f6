"""Where the platform of `up` and `dev` is to run, or why it cannot."""

import asyncio
import os
from pathlib import Path

from stylobate.app.listening import bind
from stylobate.config import ConfigError
from stylobate.declarations.sources import MODULE_FILE, module_folders
from stylobate.launcher.embedded.mongodb import binary as mongod
from stylobate.launcher.environment import MONGODB, VAULT
from stylobate.launcher.output import CommandError, print_line
from stylobate.launcher.ports import Layout, Ports, one_process, split, workers
from stylobate.launcher.project import Project
from stylobate.launcher.up_options import DatabaseKind, UpOptions


def layout_of(project: Project, options: UpOptions) -> Layout:
    """Return the layout, every port of which is free, and stop what an earlier run left behind.

    Raises CommandError, ConfigError, ListenError, EmbeddedServerError: the project cannot run so, or runs already.
    """
    if options.vault and os.environ.get("STYLOBATE_VAULT_ADDRESS"):
        raise CommandError("STYLOBATE_VAULT_ADDRESS is set: that Vault is used, and --vault would start another")
    if options.database and os.environ.get("STYLOBATE_DATABASE_URL"):
        raise CommandError("STYLOBATE_DATABASE_URL is set: that database is used, and --database would start another")
    _refuse_second(project)
    _refuse_missing_modules(project)
    asyncio.run(_stop_leftovers(project))  # before the ports are looked at: they hold them
    layout, ports = _layout(project, options), Ports(options.port)
    if options.vault:
        layout.endpoints[VAULT] = f"http://{ports.at(ports.vault)}"
        bind(ports.at(ports.vault)).close()
    if (options.database or _kind_of(project)) is DatabaseKind.MONGODB and not os.environ.get("STYLOBATE_DATABASE_URL"):
        mongod()  # raises EmbeddedServerError, which says where to get one
        layout.endpoints[MONGODB] = f"mongodb://{ports.at(ports.mongodb)}"
        bind(ports.at(ports.mongodb)).close()
    return layout


def _kind_of(project: Project) -> DatabaseKind:
    """Return which database the project has data of; PostgreSQL where it has of both, or none."""
    is_on_mongodb = (project.data / MONGODB).is_dir() and not (project.data / "postgres").is_dir()
    return DatabaseKind.MONGODB if is_on_mongodb else DatabaseKind.POSTGRESQL


def _layout(project: Project, options: UpOptions) -> Layout:
    ports = Ports(options.port)
    if options.split:
        layout = split(ports, project.data, project.run, options.workers)
    elif options.workers > 1 or options.watch:
        layout = workers(ports, project.data, project.run, options.workers)
    else:
        layout = one_process(ports, project.data)
    listening = {address for placement in layout.placements for address in (*placement.grpc, placement.http) if address}
    for address in sorted(listening | {layout.endpoints["admin"].removeprefix("http://")}):
        if not address.startswith("unix:"):
            bind(address).close()  # a plain socket: tells also of those that would share the port with us
    return layout


def _refuse_second(project: Project) -> None:
    if (running := project.alive()) is not None:
        raise CommandError(f"this project is running already at {running.endpoints['gateway']} (pid {running.supervisor.pid})")


def _refuse_missing_modules(project: Project) -> None:
    folders = os.environ.get("STYLOBATE_MODULES", "")
    if not folders and not (project.folder / "modules").is_dir():
        raise CommandError(f"there is no folder `modules` in {project.folder}; `stylobate init` makes a project")
    absent = [finding for finding in module_folders(folders)[1] if Path(finding.file).name != MODULE_FILE]
    if absent:
        raise ConfigError([f"STYLOBATE_MODULES: {finding}" for finding in absent])


async def _stop_leftovers(project: Project) -> None:
    """Stop what a killed supervisor left behind, all at once: each of them may hang."""
    running = project.running()
    left = [child for child in running.children if child.is_running] if running is not None else []
    for child in left:
        print_line(f"stopping {child.name}, left behind by an earlier run")
    await asyncio.gather(*(child.stop() for child in left))
