"""How long a session or an API key is taken after it was ended: part of P22.

The platform runs as two processes on the same port. One is told to end a session or a key; from its answer on the other, which
has just taken the credential, is asked again and again until it refuses. They share nothing but PostgreSQL and Valkey.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import orjson
import psutil

from bench.processes import HOST, Processes
from bench.servers import QUICK_HASHES, SETTINGS, platform

_MOST_S = 10.0
_WHO = orjson.dumps({"email": "ada@example.com", "password": f"not a secret {os.urandom(6).hex()}"})
_ORDER = b'{"items":[{"sku":"a-1","quantity":2}]}'


class _Worker:
    """A connection that one of the processes holds."""

    def __init__(self, connection: HTTPConnection) -> None:
        self._connection = connection

    def ask(self, method: str, path: str, credential: str = "", body: bytes | None = None) -> tuple[int, Any]:
        """Return the status and the document of an answer."""
        fields = {"content-type": "application/json"} | ({"authorization": f"Bearer {credential}"} if credential else {})
        self._connection.request(method, path, body, fields)
        answer = self._connection.getresponse()
        text = answer.read()
        return answer.status, orjson.loads(text) if text else None

    def require(self, method: str, path: str, credential: str = "", body: bytes | None = None) -> Any:
        """Return the document of an answer. Raises RuntimeError for a refusal."""
        status, document = self.ask(method, path, credential, body)
        if status >= HTTPStatus.BAD_REQUEST:
            raise RuntimeError(f"{method} {path}: {status} {document}")
        return document

    def takes(self, credential: str) -> bool:
        """Return whether an action may be called with it."""
        status, document = self.ask("POST", "/v1/actions/bench.price", credential, _ORDER)
        if status not in (HTTPStatus.OK, HTTPStatus.UNAUTHORIZED):
            raise RuntimeError(f"an action: {status} {document}")
        return status == HTTPStatus.OK


class _Ended(NamedTuple):
    credential: str
    path: str
    """What ends it when it is deleted."""


def delays(count: int) -> Mapping[str, list[float]]:
    """Return the milliseconds from the answer of what ended a credential to its refusal by another process, sorted.

    :param count: of sessions, and of keys.
    """
    settings = SETTINGS | QUICK_HASHES | {"STYLOBATE_AUTH_API_KEYS_PER_ACCOUNT": str(count)}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        port, processes = stack.enter_context(platform(Path(folder), "--workers", "2", environment=settings))
        here, there = stack.enter_context(_workers(port, processes))
        here.require("POST", "/v1/auth/register", body=_WHO)
        own = str(here.require("POST", "/v1/auth/login", body=_WHO)["access_token"])
        sessions = [_session(here) for _ in range(count)]
        keys = [_key(here, own, number) for number in range(count)]
        return {
            "a session": sorted(_delay(here, there, own, one) for one in sessions),
            "an API key": sorted(_delay(here, there, own, one) for one in keys),
        }


def _session(worker: _Worker) -> _Ended:
    token = str(worker.require("POST", "/v1/auth/login", body=_WHO)["access_token"])
    newest = worker.require("GET", "/v1/auth/sessions?page_size=1", token)["items"][0]
    if not newest["current"]:
        raise RuntimeError("the newest session is not the one that was just opened")
    return _Ended(token, f"/v1/auth/sessions/{newest['id']}")


def _key(worker: _Worker, own: str, number: int) -> _Ended:
    body = orjson.dumps({"name": f"key {number}", "scopes": ["bench:price"]})
    issued = worker.require("POST", "/v1/api-keys", own, body)
    return _Ended(issued["key"], f"/v1/api-keys/{issued['id']}")


def _delay(here: _Worker, there: _Worker, own: str, one: _Ended) -> float:
    if not there.takes(one.credential):
        raise RuntimeError("what was not ended is refused")
    here.require("DELETE", one.path, own)
    begun = perf_counter()
    while there.takes(one.credential):
        if perf_counter() > begun + _MOST_S:
            raise RuntimeError(f"{one.path} was ended and is still taken")
    return (perf_counter() - begun) * 1000


@contextlib.contextmanager
def _workers(port: int, processes: Processes) -> Iterator[tuple[_Worker, _Worker]]:
    """Connect until there is a connection that each of the two processes holds."""
    workers = [process for name, process in processes.found.items() if name.startswith("platform")]
    with contextlib.ExitStack() as stack:
        held: dict[int, _Worker] = {}
        while len(held) < len(workers):
            connection = HTTPConnection(HOST, port, timeout=30)
            stack.callback(connection.close)
            worker = _Worker(connection)
            worker.require("GET", "/.well-known/jwks.json")
            held.setdefault(_holder(connection, workers), worker)
        here, there = held.values()
        yield here, there


def _holder(connection: HTTPConnection, workers: list[psutil.Process]) -> int:
    """Return the id of the process at the other end."""
    mine = connection.sock.getsockname()[1]
    return next(one.pid for one in workers if any(c.raddr and c.raddr.port == mine for c in one.net_connections("tcp")))
