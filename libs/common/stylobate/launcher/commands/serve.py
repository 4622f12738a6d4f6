"""`stylobate serve`: host some services in this process, for containers."""

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from stylobate.app import HostSettings, Placement
from stylobate.app.discovery import default_address
from stylobate.config import Sources
from stylobate.launcher.commands.config import unknown
from stylobate.launcher.output import CommandError, warn
from stylobate.launcher.serving import serve as run
from stylobate.services import installed_services

_LAST_PORT = 65_535


def serve(
    names: Annotated[list[str], typer.Argument(help="Services to host in this process.", envvar="STYLOBATE_SERVICES")],
) -> None:
    """Host the services on the container's ports (8080 HTTP, 9090 gRPC, 8081 admin) until SIGTERM."""
    installed = installed_services()
    for name in names:
        if name not in installed:
            raise CommandError(f"there is no service named {name}; installed: {', '.join(installed)}")
    os.environ.setdefault("STYLOBATE_ENVIRONMENT", "production")
    for line in unknown(os.environ):
        warn(line)
    sys.exit(run(placement_of(names, os.environ)))


def placement_of(names: Sequence[str], environ: Mapping[str, str]) -> Placement:
    """Return where these services listen and where the others are, as the environment says. Raises CommandError."""
    services = installed_services()
    host = environ.get("STYLOBATE_LISTEN", "0.0.0.0")  # noqa: S104  a container's own network namespace
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    grpc, http, admin = (
        f"{host}:{_port(environ, name, port)}" for name, port in (("GRPC", 9090), ("HTTP", 8080), ("ADMIN", 8081))
    )
    sources = Sources(environ)
    discovery, prefix = (HostSettings.value(name, sources) for name in ("discovery", "consul_prefix"))

    def where(name: str) -> str:
        return environ.get(f"STYLOBATE_{name.upper()}_ADDRESS", "") or default_address(discovery, name, prefix)

    return Placement(
        services=tuple(dict.fromkeys(names)),
        addresses={name: address for name in services if name not in names and (address := where(name))},
        grpc=(grpc,),
        http=http if any(services[name].http for name in names) else "",
        admin=admin,
        node=f"{socket.gethostname()}-{os.getpid()}",  # outside of containers several processes share the host's name
    )


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(f"STYLOBATE_{name}_PORT", str(default))
    if not text.isdecimal() or not 0 < int(text) <= _LAST_PORT:
        raise CommandError(f"STYLOBATE_{name}_PORT: {text} is not a port")
    return int(text)
