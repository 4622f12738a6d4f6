"""`stylobate db`."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import typer

from stylobate.database import Migrator
from stylobate.ids import new_id
from stylobate.launcher.faces import CommandError, console
from stylobate.launcher.project import services_here
from stylobate.launcher.schemas import WITHIN, answering, schema_of, services_with, sources
from stylobate.outbox.postgres import PostgresNumbering
from stylobate.services import installed_services


def upgrade(grant_to: Sequence[str] = ()) -> None:
    """Apply what is pending, service by service. Waits for a database that is not there yet, saying so.

    :param grant_to: database users that may take the services' roles, ``USER`` (every role) or ``SERVICE=USER``.
    """
    asyncio.run(_upgrade(_users(grant_to)))


def status(within: timedelta = WITHIN) -> None:
    """List what is pending; exit 1 when something is. Raises CommandError when the database does not answer in time."""
    with answering(within):
        pending = asyncio.run(_pending(within))
    for name, files in pending.items():
        console().print(f"{name}: {', '.join(files) if files else 'up to date'}")
    raise typer.Exit(1 if any(pending.values()) else 0)


def restored(services: list[str]) -> None:
    """Begin a new epoch of the event logs. Raises CommandError for a service that keeps none."""
    keeping = services_with("outbox")
    if wrong := [name for name in services if name not in keeping]:
        raise CommandError(f"{', '.join(wrong)} keeps no log of events; these do: {', '.join(keeping)}")
    with answering():
        asyncio.run(_restored(services or list(keeping)))


async def _restored(services: list[str]) -> None:
    async with asyncio.timeout(WITHIN.total_seconds()):
        for name in services:
            async with schema_of(name) as database:
                epoch = new_id()
                await PostgresNumbering(database, name).begin(epoch, "restored, said the command line")
                console().print(f"{name}: epoch {epoch} has begun")


def _users(grant_to: Sequence[str]) -> list[tuple[str, str]]:
    """Return pairs of service (empty: every one) and user. Raises CommandError for a service without a schema."""
    users = []
    for text in grant_to:
        service, _, user = text.rpartition("=")
        if service and not (service in installed_services() and installed_services()[service].migrations):
            raise CommandError(f"--grant-to {text}: {service} has no schema")
        users.append((service, user))
    return users


async def _upgrade(users: Sequence[tuple[str, str]]) -> None:
    for name, migrator in _migrators().items():
        applied = await migrator.upgrade()
        console().print(f"{name}: {'applied ' + ', '.join(applied) if applied else 'up to date'}")
        for user in [user for service, user in users if service in ("", name)]:
            await migrator.grant(user)
            console().print(f"{name}: {user} may take its role")


async def _pending(within: timedelta) -> dict[str, list[str]]:
    migrators = _migrators()  # imports the services, which is not the database's time
    async with asyncio.timeout(within.total_seconds()):
        return {name: await migrator.pending() for name, migrator in migrators.items()}


def _migrators() -> dict[str, Migrator]:
    """Return a migrator per service with a schema."""
    where = sources()
    return {
        name: Migrator(
            spec.settings.value("database_url", where),
            name,
            spec.migrations,
            use_role=spec.settings.value("database_roles", where),
        )
        for name, spec in services_here().items()
        if spec.migrations
    }
