"""`stylobate serve`: host some services in this process, for containers."""

import os
import socket
import sys

from stylobate.app import Placement, installed_services
from stylobate.launcher.faces import CommandError
from stylobate.launcher.project import SERVICES
from stylobate.launcher.serving import serve as run


def serve(names: list[str]) -> None:
    """Host the services on the container's ports (8080 HTTP, 9090 gRPC, 8081 admin) until SIGTERM."""
    installed = installed_services()
    for name in names:
        if name not in installed:
            raise CommandError(f"there is no service named {name}; installed: {', '.join(installed)}")
    os.environ.setdefault("STYLOBATE_ENVIRONMENT", "production")
    host = os.environ.get("STYLOBATE_LISTEN", "0.0.0.0")  # noqa: S104  a container's own network namespace
    sys.exit(
        run(
            Placement(
                services=tuple(names),
                addresses={
                    name: os.environ.get(f"STYLOBATE_{name.upper()}_ADDRESS", f"dns:///stylobate-{name}:9090")
                    for name in SERVICES
                    if name not in names
                },
                grpc=(f"{host}:{_port('GRPC', 9090)}",),
                http=f"{host}:{_port('HTTP', 8080)}" if {"gateway", "realtime"} & set(names) else "",
                admin=f"{host}:{_port('ADMIN', 8081)}",
                node=socket.gethostname(),
            )
        )
    )


def _port(name: str, default: int) -> int:
    text = os.environ.get(f"STYLOBATE_{name}_PORT", str(default))
    if not text.isdecimal():
        raise CommandError(f"STYLOBATE_{name}_PORT: {text} is not a port")
    return int(text)
