"""`stylobate up` and `dev`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from stylobate.launcher.lasting import PLATFORM, go_on
from stylobate.launcher.up_options import DatabaseKind, UpOptions

Split = Annotated[bool, typer.Option("--split", help="A process per service, over gRPC.")]
Workers = Annotated[int, typer.Option("--workers", min=1, max=64, help="Identical processes on the same ports.")]
Vault = Annotated[bool, typer.Option("--vault", help="With OpenBao beside it, for settings and secrets.")]
Database = Annotated[
    DatabaseKind | None,
    typer.Option("--database", help="Which one to start; without it the one that this project has data of, else PostgreSQL."),
]
Port = Annotated[int, typer.Option("--port", help="First of a row of ports to use instead of 8080, 9090, 8081.")]


def up(  # noqa: PLR0917  each an option of the command
    split: Split = False,
    workers: Workers = 1,
    detach: Annotated[bool, typer.Option("--detach", help="Return when it is ready; `stylobate down` stops it.")] = False,
    port: Port = 0,
    vault: Vault = False,
    database: Database = None,
) -> None:
    """Run the platform in the foreground, or with ``detach`` in the background until `stylobate down`."""
    options = UpOptions(split=split, workers=workers, port=port, vault=vault, database=database)
    if detach:
        _detach(options)
    else:
        go_on(PLATFORM, options.arguments())


def dev(split: Split = False, workers: Workers = 1, port: Port = 0, vault: Vault = False, database: Database = None) -> None:
    """Run it in processes of its own, which are replaced when a file is saved."""
    options = UpOptions(split=split, workers=workers, port=port, vault=vault, database=database, watch=True)
    go_on(PLATFORM, options.arguments())


def _detach(options: UpOptions) -> None:
    # what the platform in the background runs with; this process ends when it is there
    from stylobate.launcher.detached import invite, start  # noqa: PLC0415
    from stylobate.launcher.project import Project  # noqa: PLC0415
    from stylobate.launcher.up_layout import layout_of  # noqa: PLC0415

    project = Project(Path.cwd())
    layout = layout_of(project, options)
    start(project, options)
    asyncio.run(invite(layout))
