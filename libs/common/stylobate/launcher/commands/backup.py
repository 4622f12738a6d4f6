"""`stylobate backup` and `restore`."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer

from stylobate.app import HostSettings
from stylobate.config import Sources
from stylobate.launcher.backup.putting import Restore
from stylobate.launcher.backup.taking import Backup
from stylobate.launcher.embedded import EmbeddedServer
from stylobate.launcher.environment import MONGODB, LocalServers
from stylobate.launcher.foreign import set_aside_libpq
from stylobate.launcher.output import CommandError
from stylobate.launcher.project import Project
from stylobate.launcher.schemas import sources
from stylobate.vault import with_vault

_TO = typer.Argument(help="The folder to make; it must not be there yet.")
_KEYS = typer.Option(help="The file of the keys of owners, one for all backups; where a namespace says `encryption: per_owner`.")
_WITHOUT = typer.Option(
    help="A module whose own data stay in the backup, such as one that is not here any more; may be repeated."
)
_FROM = typer.Argument(help="A folder that `stylobate backup` made.")


def backup(folder: Annotated[Path, _TO], owner_keys: Annotated[Path | None, _KEYS] = None) -> None:
    """Write everything that the databases hold, of one moment, while the platform runs. Encrypted with STYLOBATE_BACKUP_KEY."""
    where = sources()
    asyncio.run(Backup(folder, _key(where), where, typer.echo, owner_keys).run())


def restore(
    folder: Annotated[Path, _FROM],
    owner_keys: Annotated[Path | None, _KEYS] = None,
    without_module: Annotated[list[str] | None, _WITHOUT] = None,
) -> None:
    """Put a backup into databases that have no schema of the platform yet; its services start afterwards."""
    found = Restore(folder, _key(with_vault(Sources(environ=os.environ))[0]), typer.echo, owner_keys, without_module or ())
    found.check()

    async def run() -> None:
        async with _databases(on_mongodb=found.is_on_mongodb(os.environ)) as where:
            await found.run(where)

    asyncio.run(run())


def _key(where: Sources) -> str:
    key: str = HostSettings.value("backup_key", where)
    return key


@asynccontextmanager
async def _databases(*, on_mongodb: bool) -> AsyncIterator[Sources]:
    """Give where settings come from; a database server of the project's own runs for as long as the block does.

    :param on_mongodb: of which kind.
    :raises CommandError: the platform runs. :raises EmbeddedServerError: the server does not start.
    """
    project = Project(Path.cwd())
    if os.environ.get("STYLOBATE_DATABASE_URL"):
        yield with_vault(Sources(environ=os.environ))[0]
        return
    set_aside_libpq(os.environ)
    with project.claimed() as is_ours:
        if not is_ours or project.alive() is not None:
            raise CommandError(
                "the platform is running here; a backup is put into databases that nobody uses: `stylobate down` first"
            )
        server, environ = _server(project, on_mongodb=on_mongodb)
        project.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            await server.start()
            await server.ready()
            yield with_vault(Sources(environ=environ))[0]
        finally:
            await server.stop()


def _server(project: Project, *, on_mongodb: bool) -> tuple[EmbeddedServer, dict[str, str]]:
    """Return the project's own server of a kind, and the environment that names it. Raises CommandError."""
    has_postgres, has_mongodb = ((project.data / name).is_dir() for name in ("postgres", MONGODB))
    if has_postgres if on_mongodb else has_mongodb and not has_postgres:
        was, is_ = ("MongoDB", "PostgreSQL") if on_mongodb else ("PostgreSQL", "MongoDB")
        raise CommandError(f"the backup is of {was}, and this project keeps its data in {is_}: put it into another folder")
    servers = LocalServers(project, mongodb_port=_free_port() if on_mongodb else 0)
    server = servers.mongodb or servers.postgres
    assert server is not None  # noqa: S101  no address is set
    return server, servers.environment()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port
