"""`stylobate db`."""

import asyncio
import os
from datetime import timedelta
from pathlib import Path

import typer

from stylobate.app import installed_services
from stylobate.config import Sources
from stylobate.database import Migrator
from stylobate.launcher.environment import LocalServers
from stylobate.launcher.faces import CommandError, console
from stylobate.launcher.project import Project


def upgrade() -> None:
    """Apply what is pending, service by service. Waits for a database that is not there yet, saying so."""
    asyncio.run(_upgrade())


def status(within: timedelta = timedelta(seconds=5)) -> None:
    """List what is pending; exit 1 when something is. Raises CommandError when the database does not answer in time."""
    try:
        pending = asyncio.run(_pending(within))
    except TimeoutError:
        raise CommandError(f"the database does not answer within {within.total_seconds():g} s") from None
    for name, files in pending.items():
        console().print(f"{name}: {', '.join(files) if files else 'up to date'}")
    raise typer.Exit(1 if any(pending.values()) else 0)


async def _upgrade() -> None:
    for name, migrator in _migrators().items():
        before = await migrator.pending()
        await migrator.upgrade()
        console().print(f"{name}: {'applied ' + ', '.join(before) if before else 'up to date'}")


async def _pending(within: timedelta) -> dict[str, list[str]]:
    async with asyncio.timeout(within.total_seconds()):
        return {name: await migrator.pending() for name, migrator in _migrators().items()}


def _migrators() -> dict[str, Migrator]:
    """Return a migrator per service with a schema; the address is the set one, else that of this project's server.

    Raises CommandError when that is needed and does not run.
    """
    project = Project(Path.cwd())
    if project.data.is_dir() and LocalServers(project).postgres is not None:
        running = project.running()
        if running is None or not running.supervisor.is_running:
            raise CommandError("nothing is running here; `stylobate up` first, or set STYLOBATE_DATABASE_URL")
    sources = Sources(environ=LocalServers(project).environment() if project.data.is_dir() else os.environ)
    return {
        name: Migrator(
            spec.settings.value("database_url", sources),
            name,
            spec.migrations,
            use_role=spec.settings.value("database_roles", sources),
        )
        for name, spec in installed_services().items()
        if spec.migrations
    }
