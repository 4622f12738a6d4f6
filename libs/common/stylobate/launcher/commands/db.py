"""`stylobate db`."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import typer

from stylobate.app.storage import Storage
from stylobate.database.schema import SchemaMigrator, migrator_of
from stylobate.ids import new_id
from stylobate.launcher.output import CommandError, console
from stylobate.launcher.project import services_here
from stylobate.launcher.schemas import (
    WITHIN,
    answering,
    databases_apart,
    in_schemas,
    module_schemas,
    schema_of,
    services_with,
    sources,
)
from stylobate.services import installed_services

db = typer.Typer()


@db.command()
def upgrade(
    grant_to: Annotated[
        list[str] | None,
        typer.Option("--grant-to", help="Let a database USER, or SERVICE=USER, take the services' roles; may be repeated."),
    ] = None,
) -> None:
    """Apply pending migrations of every installed service."""
    asyncio.run(_upgrade(_users(grant_to or ())))


@db.command()
def status() -> None:
    """List pending migrations; exit 0 only when there is none."""
    show_pending(WITHIN)


def show_pending(within: timedelta) -> None:
    """Do what `status` does. Raises CommandError when the database does not answer in time."""
    with answering(within):
        pending = asyncio.run(_pending(within))
    for name, files in pending.items():
        console().print(f"{name}: {', '.join(files) if files else 'up to date'}")
    raise typer.Exit(1 if any(pending.values()) else 0)


@db.command()
def restored(
    services: Annotated[list[str] | None, typer.Argument(help="Whose database was restored; none: all that keep events.")] = None,
    database: Annotated[str, typer.Option(help="A further database of the service, as its settings name it.")] = "",
) -> None:
    """Say that a database was restored to an earlier state: its event log begins a new epoch.

    Only where the platform cannot see it itself: a volume's snapshot, or rows put back into the tables that are there.
    """
    services, keeping = services or [], services_with("outbox")
    if wrong := [name for name in services if name not in keeping]:
        raise CommandError(f"{', '.join(wrong)} keeps no log of events; these do: {', '.join(keeping)}")

    async def begin(name: str, storage: Storage) -> None:
        epoch = new_id()
        await storage.numbering(name).begin(epoch, "restored, said the command line")
        console().print(f"{name}: epoch {epoch} has begun")

    if not database:
        in_schemas(services or keeping, begin)
        return
    if len(services) != 1 or database not in databases_apart(installed_services()[services[0]], sources()):
        raise CommandError(f"--database {database}: say the one service that has a further database of that name")

    async def begin_there() -> None:
        async with asyncio.timeout(WITHIN.total_seconds()), schema_of(services[0], database) as there:
            await begin(services[0], there)

    with answering():
        asyncio.run(begin_there())


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
        for user in [user for service, user in users if service in ("", name.partition(" ")[0])]:
            await migrator.grant(user)
            console().print(f"{name}: {user} may take its role")


async def _pending(within: timedelta) -> dict[str, list[str]]:
    migrators = _migrators()  # imports the services, which is not the database's time
    async with asyncio.timeout(within.total_seconds()):
        return {name: await migrator.pending() for name, migrator in migrators.items()}


def _migrators() -> dict[str, SchemaMigrator]:
    """Return a migrator per service with a schema, for each further database that it has, and for each of a module."""
    where = sources()
    migrators: dict[str, SchemaMigrator] = {}
    for name, spec in services_here().items():
        if spec.migrations:
            use_role = spec.settings.value("database_roles", where)
            urls = {name: spec.settings.value("database_url", where)}
            urls |= {f"{name} in {database}": url for database, url in databases_apart(spec, where).items()}
            migrators |= {what: migrator_of(url, name, spec.migrations, use_role=use_role) for what, url in urls.items()}
            for schema in module_schemas(spec, where):
                own = migrator_of(schema.url, schema.name, schema.migrations, use_role=use_role, setting=schema.setting)
                migrators[f"{name} for the module {schema.module}"] = own
    return migrators
