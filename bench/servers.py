"""What is measured: the platform, its baselines and peers, and single servers that a benchmark in this process works with."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from ssl import create_default_context
from typing import Any, NamedTuple, TypeVar

import httpx
import psutil
from stylobate.launcher.embedded import EmbeddedMongo, EmbeddedPostgres, EmbeddedValkey, run_folder
from stylobate.launcher.project import Project
from stylobate.testing.authority import Authority
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.ports import free_ports

from bench.processes import HOST, ROOT, Processes, running, wait_for

STORES = ("valkey", "postgres", "mongodb")
"""The processes whose CPU stands apart: the baselines have none."""
_AT_ONCE = 8
"""Accounts that are made at a time: one alone waits for the stores most of the time."""
_WIDE = "1000000/second"
_MANY = "20000"
SETTINGS = {
    "STYLOBATE_MODULES": str(Path(__file__).parent / "modules"),
    "STYLOBATE_RATELIMIT_EDGE_IP": _WIDE,  # charged like any other limit, and never reached
    "STYLOBATE_RATELIMIT_EDGE_USER": _WIDE,
    "STYLOBATE_AUTH_LOGIN_IP": _WIDE,
    "STYLOBATE_AUTH_LOGIN_ACCOUNT": _WIDE,
    "STYLOBATE_AUTH_REGISTER_IP": _WIDE,
    "STYLOBATE_AUTH_ACCESS_TOKEN_LIFETIME": "1h",
    "STYLOBATE_HTTP_CONNECTIONS": _MANY,
    "STYLOBATE_HTTP_CONNECTIONS_PER_ADDRESS": _MANY,
}
"""For the platform under load from one address."""
QUICK_HASHES = {"STYLOBATE_AUTH_ARGON2_MEMORY_KIB": "64", "STYLOBATE_AUTH_ARGON2_TIME_COST": "1"}
"""Many accounts are made before the clock starts."""


def is_free(port: int) -> bool:
    """Return whether nobody listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return True
    return False


@contextlib.contextmanager
def baseline(
    application: str, environment: Mapping[str, str] | None = None, *, tls: tuple[Path, Path] | None = None
) -> Iterator[tuple[int, Processes]]:
    """Serve ``bench.baselines.<application>`` with uvicorn, as the platform does; give its port.

    :param tls: files of a certificate and its key.
    """
    port = free_ports(1)
    target = f"bench.baselines.{application}:application"
    arguments = [
        *("--host", HOST, "--port", str(port), "--loop", "uvloop", "--http", "httptools", "--ws", "none", "--lifespan", "off"),
        *("--no-access-log", "--no-server-header", "--no-date-header", "--no-proxy-headers", "--log-level", "warning"),
        *(() if tls is None else ("--ssl-certfile", str(tls[0]), "--ssl-keyfile", str(tls[1]))),
    ]
    command = [sys.executable, "-m", "uvicorn", target, *arguments]
    with running(command, cwd=ROOT, env=os.environ | (environment or {})) as child:
        wait_for(lambda: not is_free(port), child)
        yield port, Processes({"python": psutil.Process(child.pid)})


@contextlib.contextmanager
def split_baseline() -> Iterator[tuple[int, Processes]]:
    """Serve the endpoint in one process and what it asks in another; a unix socket between them."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{folder}/orders.grpc"
        command = [sys.executable, "-m", "bench.baselines.grpc_server", address]
        with running(command, cwd=ROOT, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            server.stdout.readline()
            with baseline("fastapi_grpc", {"BENCH_GRPC": address}) as (port, processes):
                yield port, Processes(processes.found | {"grpc server": psutil.Process(server.pid)})


@contextlib.contextmanager
def raw_broadcast() -> Iterator[tuple[int, Processes]]:
    """Serve bare writes to every socket."""
    port = free_ports(1)
    with running([sys.executable, "-m", "bench.baselines.raw_broadcast", str(port)], cwd=ROOT) as child:
        wait_for(lambda: not is_free(port), child)
        yield port, Processes({"python": psutil.Process(child.pid)})


@contextlib.contextmanager
def platform(
    folder: Path,
    *arguments: str,
    command: str = "up",
    environment: Mapping[str, str] | None = None,
    checkout: Path | None = None,
) -> Iterator[tuple[int, Processes]]:
    """Run `stylobate up`, or another command, in the folder; give its port once it answers a request with 200.

    :param checkout: of what runs, with its ``.venv``; None: this one.
    """
    port = free_ports()
    python = sys.executable if checkout is None else str(checkout / ".venv" / "bin" / "python")
    line = [python, "-m", "stylobate.launcher", command, "--port", str(port), *arguments]
    with (
        (folder / "up.log").open("ab") as log,
        running(line, cwd=folder, env=os.environ | (environment or {}), stdout=log) as up,
    ):
        wait_for(lambda: answers(port), up)
        yield port, Processes(_platform_processes(folder, up.pid))


def _platform_processes(folder: Path, supervisor: int) -> dict[str, psutil.Process]:
    running = Project(folder).running()
    children = running.children if running is not None else ()
    return {"supervisor": psutil.Process(supervisor)} | {child.name: psutil.Process(child.pid) for child in children}


def answers(port: int, authority: Authority | None = None) -> bool:
    """Return whether a platform answers at its HTTP port, over TLS where an authority is named."""
    connection = HTTPConnection(HOST, port, timeout=2)
    if authority is not None:
        connection = HTTPSConnection(HOST, port, timeout=2, context=create_default_context(cafile=str(authority.file)))
    try:
        connection.request("GET", "/.well-known/jwks.json")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


class User(NamedTuple):
    """Somebody who has an account."""

    email: str
    password: str
    token: str
    """An access token."""


@contextlib.contextmanager
def client_of(port: int, authority: Authority | None = None) -> Iterator[httpx.Client]:
    """Give a client of a platform, over TLS where an authority is named."""
    scheme = "http" if authority is None else "https"
    verify: Any = NO_TLS if authority is None else create_default_context(cafile=str(authority.file))
    with httpx.Client(base_url=f"{scheme}://{HOST}:{port}/v1", timeout=30, verify=verify, trust_env=False) as client:
        yield client


def users(port: int, count: int, authority: Authority | None = None) -> list[User]:
    """Make accounts and log each in."""
    with client_of(port, authority) as client, ThreadPoolExecutor(_AT_ONCE) as executor:

        def make(number: int) -> User:
            who = {"email": f"user-{number}@example.com", "password": f"not a secret {os.urandom(6).hex()}"}
            client.post("/auth/register", json=who).raise_for_status()
            return User(**who, token=client.post("/auth/login", json=who).raise_for_status().json()["access_token"])

        return list(executor.map(make, range(count)))


_Server = TypeVar("_Server", EmbeddedPostgres, EmbeddedValkey, EmbeddedMongo)


@contextlib.asynccontextmanager
async def embedded(kind: Callable[[Path, Path], _Server]) -> AsyncIterator[_Server]:
    """Run a server of that kind beside this process, with the options that it has by default."""
    with tempfile.TemporaryDirectory() as name:
        run = run_folder(Path(name))
        server = kind(Path(name) / "data", run)
        await server.start()
        try:
            await server.ready()
            yield server
        finally:
            await server.stop()
            shutil.rmtree(run, ignore_errors=True)


@contextlib.contextmanager
def started(kind: Callable[[Path, Path], _Server]) -> Iterator[_Server]:
    """Run a server of that kind beside this process; for benchmarks that have no event loop."""
    with asyncio.Runner() as runner:
        running_server = embedded(kind)
        server = runner.run(running_server.__aenter__())
        try:
            yield server
        finally:
            runner.run(running_server.__aexit__(None, None, None))
