"""The process of `stylobate serve`: some services, on a container's ports.

A program of its own, ``python -m stylobate.launcher.container``: the command becomes it, see :mod:`stylobate.launcher.lasting`.
"""

import gc
import os
import socket
import sys
from collections.abc import Mapping, Sequence

from stylobate.app import HostSettings, Placement
from stylobate.app.discovery import default_address
from stylobate.config import Sources
from stylobate.launcher.output import CommandError, plain_errors, prepare_streams, warn
from stylobate.launcher.serving import serve
from stylobate.launcher.setting_findings import unknown
from stylobate.services import installed_services

_LAST_PORT = 65_535
_GC_THRESHOLD = 50_000


def main(names: Sequence[str]) -> None:
    """Host the services of these names until SIGTERM."""
    gc.set_threshold(_GC_THRESHOLD, 20, 20)
    prepare_streams()
    with plain_errors():
        installed = installed_services()
        for name in names:
            if name not in installed:
                raise CommandError(f"there is no service named {name}; installed: {', '.join(installed)}")
        os.environ.setdefault("STYLOBATE_ENVIRONMENT", "production")
        for line in unknown(os.environ):
            warn(line)
        sys.exit(serve(placement_of(names, os.environ)))


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


if __name__ == "__main__":
    main(sys.argv[1:])
