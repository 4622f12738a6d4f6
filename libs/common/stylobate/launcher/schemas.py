"""The databases of the installed services, for commands that work on them directly."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from stylobate.app.module_schema import ModuleSchema
from stylobate.app.storage import MongoStorage, PostgresStorage, Storage
from stylobate.config import Sources
from stylobate.database import DatabaseManager
from stylobate.database.address import is_mongodb
from stylobate.declarations import load_declarations
from stylobate.launcher.environment import LocalServers
from stylobate.launcher.foreign import set_aside_libpq
from stylobate.launcher.output import CommandError
from stylobate.launcher.project import Project, services_here
from stylobate.outbox.port import APART
from stylobate.services import ServiceSpec, installed_services
from stylobate.vault import with_vault

T = TypeVar("T")
WITHIN = timedelta(seconds=5)


def sources() -> Sources:
    """Return where settings come from: those that are set, else those of this project's servers.

    Raises CommandError when these are needed and do not run.
    """
    project = Project(Path.cwd())
    if not project.data.is_dir():
        return with_vault(Sources(environ=os.environ))[0]
    servers = LocalServers.of(project)
    if servers.postgres is not None:
        set_aside_libpq(os.environ)
        project.demand("set STYLOBATE_DATABASE_URL")
    return with_vault(Sources(environ=servers.environment()))[0]


def services_with(migrations: str) -> dict[str, ServiceSpec]:
    """Return the installed services whose schema has this set of migrations."""
    return {name: spec for name, spec in services_here().items() if any(part.name == migrations for part in spec.migrations)}


def databases_apart(spec: ServiceSpec, where: Sources) -> Mapping[str, str]:
    """Return the URLs of a service's further databases by their names."""
    if not spec.apart:
        return {}
    found: Mapping[str, str] = getattr(spec.settings.load(where), spec.apart)
    return found


def module_schemas(spec: ServiceSpec, where: Sources, *, of_all: bool = False) -> list[ModuleSchema]:
    """Return what modules keep data of their own in, where the service is the one that runs them.

    :param of_all: with those of modules that are left out for a mistake in their files, and had them before that.

    Raises CommandError for a module whose database is of the other kind; with ``of_all`` it has none.
    """
    if not spec.module_databases:
        return []
    settings = spec.settings.load(where)
    declared = load_declarations(settings.modules)
    urls: Mapping[str, str] = getattr(settings, spec.module_databases)
    found: dict[str, ModuleSchema] = {}
    for declaration in (*declared.modules, *(declared.broken if of_all else ())):
        if declaration.database and declaration.name not in found:
            try:
                found[declaration.name] = ModuleSchema.of(declaration, urls, settings.database_url)
            except ValueError as error:
                if not of_all:
                    raise CommandError(f"{declaration.folder / 'module.yaml'}:{declaration.database_line}: {error}") from None
    return list(found.values())


def _url_of(log: str, where: Sources) -> str:
    """Return where a log is: named like its service, or with a further database of it. Raises CommandError for no such one."""
    service, apart, further = log.partition(APART)
    spec = installed_services()[service]
    url: str = spec.settings.value("database_url", where)
    if not apart:
        return url
    known = databases_apart(spec, where)
    if further not in known:
        raise CommandError(f"{log}: {service} has no further database {further}, as far as this command is told")
    return known[further]


@asynccontextmanager
async def schema_of(log: str, further: str = "") -> AsyncIterator[Storage]:
    """Open the schema of a service, where a log of it is.

    :param log: named like the service, or with a further database. :param further: the name of such a one instead.
    """
    where = sources()
    name = log.partition(APART)[0]
    spec = installed_services()[name]
    url = databases_apart(spec, where)[further] if further else _url_of(log, where)
    use_role = spec.settings.value("database_roles", where)
    async with storage_at(url, name, use_role=use_role, pooler=spec.settings.value("database_pooler", where)) as storage:
        yield storage


@asynccontextmanager
async def storage_at(url: str, service: str, *, use_role: bool, pooler: bool = False) -> AsyncIterator[Storage]:
    """Open what a service has at a URL. :param use_role: and pooler: of PostgreSQL; see DatabaseManager."""
    if is_mongodb(url):
        from stylobate.database.mongodb import MongoManager  # noqa: PLC0415  its driver: 11 MB, for whoever has one

        async with MongoManager.open(url, service=service, pool_size=2) as on_mongodb:
            yield MongoStorage(on_mongodb)
        return
    async with DatabaseManager.open(url, service=service, pool_size=2, use_role=use_role, pooler=pooler) as database:
        yield PostgresStorage(database)


def in_schemas(services: Iterable[str], do: Callable[[str, Storage], Awaitable[T]]) -> list[T]:
    """Do something in the schema of one service after the other; return what each gave.

    Raises CommandError when the database does not answer in time.
    """
    names = tuple(services)  # imports them, which is not the database's time

    async def all_of_them() -> list[T]:
        found = []
        async with asyncio.timeout(WITHIN.total_seconds()):
            for name in names:
                async with schema_of(name) as storage:
                    found.append(await do(name, storage))
        return found

    with answering():
        return asyncio.run(all_of_them())


@contextmanager
def answering(within: timedelta = WITHIN) -> Iterator[None]:
    """Make a command that found no answer in time say so in one line."""
    try:
        yield
    except TimeoutError:
        raise CommandError(f"STYLOBATE_DATABASE_URL: the database does not answer within {within.total_seconds():g} s") from None
