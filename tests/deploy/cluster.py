"""Six `stylobate serve` processes in production mode, as a team without containers would run them."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import httpx
from stylobate.identity.service_keys import generate_service_keys
from stylobate.services import installed_services, key_holders
from stylobate.testing import commands
from stylobate.testing.authority import Authority
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.ports import free_ports
from stylobate.testing.until import wait_until

from tests.conftest import SHOP

READY_WITHIN = timedelta(minutes=4)  # six interpreters that import at once, on a machine that may be busy


@dataclass(frozen=True)
class Ports:
    """Where a service listens."""

    grpc: int
    http: int
    admin: int


class Cluster:
    """The processes, their settings and their logs."""

    def __init__(self, folder: Path, settings: Mapping[str, str], authority: Authority, *, is_anew: bool = True) -> None:
        """Prepare the settings; nothing runs yet.

        :param is_anew: whether services are executed as an operator does; see ``stylobate.testing.commands``.
        """
        self._is_anew = is_anew
        self.folder = folder
        folder.mkdir()
        generate_service_keys(folder / "keys", key_holders())
        self.ports = {name: Ports(free_ports(1), free_ports(1), free_ports(1)) for name in installed_services()}
        certificate, key = authority.issue("services")
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("STYLOBATE_")}
        self.environ |= {
            "STYLOBATE_MODULES": str(SHOP.parent),
            "STYLOBATE_IDENTITY_FOLDER": str(folder / "keys"),
            "STYLOBATE_LISTEN": "127.0.0.1",
            "STYLOBATE_TLS_CERTIFICATE": str(certificate),
            "STYLOBATE_TLS_KEY": str(key),
            "STYLOBATE_TLS_AUTHORITY": str(authority.file),
            "STYLOBATE_HTTP_TLS_CERTIFICATE": str(certificate),
            "STYLOBATE_HTTP_TLS_KEY": str(key),
            "STYLOBATE_DRAIN_WAIT": "0s",
            "SSL_CERT_FILE": str(authority.file),  # whom the system's clients trust
            **{f"STYLOBATE_{name.upper()}_ADDRESS": f"dns:///localhost:{ports.grpc}" for name, ports in self.ports.items()},
            **settings,
        }
        self.processes: dict[str, commands.Command] = {}

    @property
    def gateway(self) -> str:
        """The address of the HTTP API."""
        return f"https://127.0.0.1:{self.ports['gateway'].http}"

    @property
    def realtime(self) -> str:
        """The address of the realtime socket."""
        return f"wss://127.0.0.1:{self.ports['realtime'].http}/v1/realtime"

    @contextmanager
    def run(self) -> Iterator[None]:
        """Run every service until the block is left."""
        try:
            for name in installed_services():
                self.start(name)
            self.wait_ready(*installed_services())
            yield
        finally:
            for process in self.processes.values():
                process.send_signal(signal.SIGTERM)
            for process in self.processes.values():
                process.wait(60)

    def start(self, name: str) -> commands.Command:
        """Start a service on its ports."""
        ports = self.ports[name]
        own = {"GRPC": ports.grpc, "HTTP": ports.http, "ADMIN": ports.admin}
        environ = self.environ | {f"STYLOBATE_{kind}_PORT": str(port) for kind, port in own.items()}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = self.serve(name, environ, log)
        return self.processes[name]

    def serve(self, name: str, environ: Mapping[str, str], log: BinaryIO) -> commands.Command:
        """Start the service in this environment."""
        with Path(os.devnull).open("rb") as nothing:
            streams = (nothing, log, log)
            return commands.start("serve", name, folder=self.folder, environ=environ, streams=streams, is_anew=self._is_anew)

    def wait_ready(self, *names: str) -> None:
        """Wait until the services say that they are ready."""
        assert wait_until(lambda: all(self.is_ready(name) for name in names), READY_WITHIN), self.logs()

    def is_ready(self, name: str) -> bool:
        """Return whether the service says so."""
        try:
            return httpx.get(
                f"http://127.0.0.1:{self.ports[name].admin}/readyz", timeout=5, trust_env=False, verify=NO_TLS
            ).is_success
        except httpx.TransportError:
            return False

    def command(
        self, *arguments: str, stdin: str = "", is_anew: bool = False, **environ: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command of an operator with the same settings."""
        return commands.run(*arguments, folder=self.folder, environ=self.environ | environ, stdin=stdin, is_anew=is_anew)

    def logs(self) -> str:
        """Return what every process wrote last."""
        return "\n".join(f"--- {file.stem}\n{file.read_text(errors='replace')[-3000:]}" for file in self.folder.glob("*.log"))
