"""The servers of P1 and P2, and the requests that each is sent."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import httpx
import psutil
from stylobate.launcher.embedded import EmbeddedPostgres

from bench import node
from bench.processes import HOST, Processes
from bench.servers import QUICK_HASHES, SETTINGS, platform, started, users

USERS = 128
ACTIONS = 8
PARSE = "Parse Server, cloud function"
_PARSE_USERS = 16
"""Its password hashes cannot be made quicker."""
_APPLICATION = {"X-Parse-Application-Id": "bench"}
_BODY = '{"items":[{"sku":"a-1","quantity":2},{"sku":"b-22","quantity":1}]}'


class Contender(NamedTuple):
    """A server in the race."""

    name: str
    port: int
    processes: Processes
    plain: list[str]
    mixed: list[str]


def plain(name: str, port: int, processes: Processes) -> Contender:
    """Return a baseline that was started."""
    requests = [request("/orders", port)]
    return Contender(name, port, processes, requests, requests)


@contextlib.contextmanager
def action(
    name: str,
    *arguments: str,
    checkout: Path | None = None,
    called: str = "price",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Contender]:
    """Run the platform, of this checkout or of another, with these options of `up`.

    :param called: which action is called. :param environment: settings beside those of every benchmark.
    """
    settings = {**SETTINGS, **QUICK_HASHES, **(environment or {})}
    with (
        tempfile.TemporaryDirectory() as folder,
        platform(Path(folder), *arguments, environment=settings, checkout=checkout) as (port, processes),
    ):
        known = [{"Authorization": f"Bearer {user.token}"} for user in users(port, USERS)]
        one = [request(f"/v1/actions/bench.{called}", port, **who) for who in known]
        mixed = [request(f"/v1/actions/bench.price_{at % ACTIONS}", port, **who) for at, who in enumerate(known)]
        yield Contender(name, port, processes, one, mixed)


@contextlib.contextmanager
def parse_server() -> Iterator[list[Contender]]:
    """Run Parse Server on a PostgreSQL of its own; nothing where it cannot be installed."""
    if (folder := node.install("parse")) is None:
        yield []
        return
    with started(EmbeddedPostgres) as postgres:
        url = urlsplit(postgres.url)
        (sockets,) = parse_qs(url.query)["host"]
        database = f"postgres://{url.username}@localhost{url.path}"
        with node.peer(folder, database, sockets) as (port, processes):
            made = _sessions(port)
            requests = [request("/parse/functions/price", port, **_APPLICATION, **{"X-Parse-Session-Token": one}) for one in made]
            processes.found["postgres"] = psutil.Process(postgres.process.pid)
            yield [Contender(PARSE, port, processes, requests, requests)]


def _sessions(port: int) -> list[str]:
    """Return the session token of each of Parse's users, who are new."""
    with httpx.Client(base_url=f"http://{HOST}:{port}/parse", headers=_APPLICATION, timeout=30) as client:
        asked = ({"username": f"user-{number}", "password": os.urandom(9).hex()} for number in range(_PARSE_USERS))
        return [client.post("/users", json=one).raise_for_status().json()["sessionToken"] for one in asked]


def request(path: str, port: int, method: str = "POST", **headers: str) -> str:
    """Return the text of a request; with the order that is priced, unless it is a GET."""
    body = _BODY if method == "POST" else ""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}:{port}"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", body])
