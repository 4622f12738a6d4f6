"""The platform as it is deployed, in one or two `stylobate serve` processes: with TLS or without, found in one way or another."""

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Thread
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg
import psutil
from stylobate.identity.service_keys import generate_service_keys
from stylobate.services import installed_services, key_holders
from stylobate.testing.authority import Authority
from stylobate.testing.consul_contract import ConsulContract
from stylobate.testing.ports import free_ports

from bench.processes import HOST, Processes, running, wait_for
from bench.servers import SETTINGS, answers
from tests.deploy.servers import plain_redis, postgres, postgres_programs, redis, redis_program

_COMMAND = [sys.executable, "-m", "stylobate.launcher"]
_DOORS = ("gateway", "actions", "realtime")
"""What one of the processes hosts; the other one has the rest."""


class Place(NamedTuple):
    """A platform that runs."""

    port: int
    processes: Processes
    started_s: float
    """From nothing to the first request that is answered."""


class Servers(NamedTuple):
    """A PostgreSQL and a Redis of the system, with TLS and without."""

    folder: Path
    authority: Authority
    database_url: str
    """With TLS."""
    redis_url: str
    plain_redis_url: str

    def database(self, name: str, *, is_plain: bool) -> str:
        """Make a database and return its URL."""
        asyncio.run(self._create(name))
        parts = urlsplit(self.database_url)
        return parts._replace(path=f"/{name}", query="sslmode=disable" if is_plain else parts.query).geturl()

    async def _create(self, name: str) -> None:
        connection = await asyncpg.connect(self.database_url)
        await connection.execute(f"create database {name}")
        await connection.close()


@contextlib.contextmanager
def servers() -> Iterator[Servers | None]:
    """Run both; None where the system has none of them."""
    programs, redis_server = postgres_programs(), redis_program()
    if programs is None or redis_server is None:
        yield None
        return
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "certificates").mkdir()
        authority = Authority(folder / "certificates")
        database_url = stack.enter_context(postgres(programs, authority, is_plain_too=True))
        redis_url = stack.enter_context(redis(folder / "redis", redis_server, authority))
        plain = stack.enter_context(plain_redis(folder / "plain_redis", redis_server))
        yield Servers(folder, authority, database_url, redis_url, f"redis://{HOST}:{plain}")


@contextlib.contextmanager
def consul() -> Iterator[str]:
    """Run the contract server, which is no Consul agent, in a thread; give its URL."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    server = ConsulContract.run()
    made = asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result()
    try:
        yield made.url
    finally:
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextlib.contextmanager
def served(
    beside: Servers, name: str, number: int, *, has_tls: bool = False, is_one: bool = False, found_by: str = "ipv4:{}"
) -> Iterator[Place]:
    """Run a platform of two processes, or of one, which then speaks TLS with its clients alone.

    :param number: another one for each platform. :param found_by: the form of an address, or the URL of a Consul.
    """
    folder = beside.folder / name
    folder.mkdir()
    generate_service_keys(folder / "keys", key_holders())
    is_everywhere = has_tls and not is_one
    redis_url = beside.redis_url if is_everywhere else f"{beside.plain_redis_url}/{number}"
    environ = {one: value for one, value in os.environ.items() if not one.startswith("STYLOBATE_")} | SETTINGS
    environ |= {
        "STYLOBATE_ENVIRONMENT": "production",
        "STYLOBATE_DATABASE_URL": beside.database(name, is_plain=not is_everywhere),
        "STYLOBATE_REDIS_URL": redis_url,
        "STYLOBATE_AUTH_SIGNING_KEY": "a signing key of more than thirty-two characters",
        "STYLOBATE_STATE_ENCRYPTION_KEY": "a key for fields of more than thirty-two characters",
        "STYLOBATE_AUTH_REGISTRATION": "open",
        "STYLOBATE_IDENTITY_FOLDER": str(folder / "keys"),
        "STYLOBATE_LISTEN": HOST,
        "STYLOBATE_DRAIN_WAIT": "0s",
    }
    if has_tls:
        certificate, key = map(str, beside.authority.issue(name))
        doors = ("", "HTTP_") if is_everywhere else ("HTTP_",)
        environ |= {f"STYLOBATE_{door}TLS_CERTIFICATE": certificate for door in doors}
        environ |= {f"STYLOBATE_{door}TLS_KEY": key for door in doors}
    if is_everywhere:
        environ |= {"STYLOBATE_TLS_AUTHORITY": str(beside.authority.file)}
    subprocess.run([*_COMMAND, "db", "upgrade"], cwd=folder, env=environ, check=True, capture_output=True)
    rest = tuple(name for name in installed_services() if name not in _DOORS)
    hosted = {"doors": (*_DOORS, *rest)} if is_one else {"doors": _DOORS, "rest": rest}
    yield from _running(folder, environ, beside.authority if has_tls else None, found_by, hosted)


def _running(
    folder: Path,
    environ: dict[str, str],
    authority: Authority | None,
    found_by: str,
    hosted: Mapping[str, tuple[str, ...]],
) -> Iterator[Place]:
    ports = {process: (free_ports(1), free_ports(1), free_ports(1)) for process in hosted}
    if found_by.startswith("http"):
        environ |= {"STYLOBATE_DISCOVERY": "consul", "STYLOBATE_CONSUL_URL": found_by, "STYLOBATE_CONSUL_ADVERTISE": HOST}
    else:
        host = "localhost" if found_by.startswith("dns") else HOST
        for process, names in hosted.items():
            address = found_by.format(f"{host}:{ports[process][0]}")
            environ |= {f"STYLOBATE_{name.upper()}_ADDRESS": address for name in names}
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((folder / "log").open("wb"))
        children = {}
        for process, names in hosted.items():
            own = dict(zip(("GRPC", "HTTP", "ADMIN"), map(str, ports[process]), strict=True))
            environment = environ | {f"STYLOBATE_{kind}_PORT": port for kind, port in own.items()}
            command = [*_COMMAND, "serve", *names]
            children[process] = stack.enter_context(running(command, cwd=folder, env=environment, stdout=log, stderr=log))
        port = ports["doors"][1]
        wait_for(lambda: answers(port, authority), children["doors"])
        found: Mapping[str, psutil.Process] = {name: psutil.Process(child.pid) for name, child in children.items()}
        yield Place(port, Processes(found), time.monotonic() - began)
