"""`stylobate serve`: host some services in this process, for containers."""

from typing import Annotated

import typer

from stylobate.launcher.lasting import CONTAINER, go_on


def serve(
    names: Annotated[list[str], typer.Argument(help="Services to host in this process.", envvar="STYLOBATE_SERVICES")],
) -> None:
    """Host the services on the container's ports (8080 HTTP, 9090 gRPC, 8081 admin) until SIGTERM."""
    go_on(CONTAINER, names)
