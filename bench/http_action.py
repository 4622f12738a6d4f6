"""P1 and P2: an action over HTTP with everything that belongs to it, beside endpoints that do none of it.

The action is authenticated, permitted, charged at three levels in Valkey (ip, user, action), checked against a schema each
way and audited. Rounds alternate, so that a slow spell of the machine hits everybody; CPU per request is what says most,
since the load comes from the same machine. The platform's CPU is that of its Python processes; Valkey and PostgreSQL stand in
a column of their own.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import httpx

from bench.processes import HOST, LoadClient, Processes, baseline, platform, split_baseline
from bench.report import Report, Target

USERS = 128
_BODY = '{"items":[{"sku":"a-1","quantity":2},{"sku":"b-22","quantity":1}]}'
_WIDE = "1000000/second"
_STORES = ("valkey", "postgres")
SETTINGS = {
    "STYLOBATE_MODULES": str(Path(__file__).parent / "modules"),
    "STYLOBATE_RATELIMIT_EDGE_IP": _WIDE,  # charged like any other limit, and never reached
    "STYLOBATE_RATELIMIT_EDGE_USER": _WIDE,
    "STYLOBATE_AUTH_LOGIN_IP": _WIDE,
    "STYLOBATE_AUTH_REGISTER_IP": _WIDE,
    "STYLOBATE_AUTH_ARGON2_MEMORY_KIB": "64",  # many accounts are made before the clock starts
    "STYLOBATE_AUTH_ARGON2_TIME_COST": "1",
    "STYLOBATE_AUTH_ACCESS_TOKEN_LIFETIME": "1h",
}


class Contender(NamedTuple):
    """A server in the race."""

    name: str
    port: int
    processes: Processes
    requests: list[str]


class Round(NamedTuple):
    """One contender's round."""

    rate: float
    """Requests per second."""
    cpu_us: float
    """CPU per request of its Python processes, in microseconds."""
    stores_us: float
    """CPU per request of Valkey and PostgreSQL."""
    p50_ms: float
    p99_ms: float


def one_process(rounds: int, seconds: float) -> Report:
    """P1."""
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        contenders = [
            _plain("bare ASGI echo", *enter(baseline("bare"))),
            _plain("FastAPI, pydantic body", *enter(baseline("plain_fastapi"))),
            enter(_platform("Stylobate action")),
        ]
        measured = _race(contenders, enter(LoadClient.open()), rounds, seconds)
    bare, fastapi, ours = (measured[contender.name] for contender in contenders)
    report = _report("P1", "an action over HTTP, all in one process", measured, fastapi)
    report.targets += [
        Target("requests/s against FastAPI", _ratio(ours, fastapi, "rate"), 2.5, at_least=True),
        Target("CPU per request: FastAPI against the action", _ratio(fastapi, ours, "cpu_us"), 2.5, at_least=True),
        Target("CPU per request against bare ASGI", _ratio(ours, bare, "cpu_us"), 3.0),
    ]
    return report


def split(rounds: int, seconds: float) -> Report:
    """P2."""
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        contenders = [
            _plain("FastAPI and one bare grpc.aio call", *enter(split_baseline())),
            enter(_platform("Stylobate action, split", "--split")),
        ]
        measured = _race(contenders, enter(LoadClient.open()), rounds, seconds)
    plain, ours = (measured[contender.name] for contender in contenders)
    report = _report("P2", "the same, a process per service", measured, plain)
    report.targets.append(Target("CPU per request against the bare split", _ratio(ours, plain, "cpu_us"), 1.2))
    return report


def _plain(name: str, port: int, processes: Processes) -> Contender:
    return Contender(name, port, processes, [_request("/orders", port)])


@contextlib.contextmanager
def _platform(name: str, *arguments: str) -> Iterator[Contender]:
    with tempfile.TemporaryDirectory() as folder, platform(Path(folder), *arguments, environment=SETTINGS) as (port, processes):
        yield Contender(name, port, processes, [_request("/v1/actions/bench.price", port, token) for token in _tokens(port)])


def _request(path: str, port: int, token: str = "") -> str:
    lines = [f"POST {path} HTTP/1.1", f"Host: {HOST}:{port}", "Content-Type: application/json", f"Content-Length: {len(_BODY)}"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join([*lines, "", _BODY])


def _tokens(port: int) -> list[str]:
    """Return the access tokens of so many new users."""
    tokens = []
    with httpx.Client(base_url=f"http://{HOST}:{port}/v1/auth", timeout=30) as client:
        for number in range(USERS):
            who = {"email": f"user-{number}@example.com", "password": f"not a secret {os.urandom(6).hex()}"}
            client.post("/register", json=who).raise_for_status()
            tokens.append(client.post("/login", json=who).raise_for_status().json()["access_token"])
    return tokens


def _race(contenders: list[Contender], load: LoadClient, rounds: int, seconds: float) -> dict[str, list[Round]]:
    for contender in contenders:
        load.run(contender.port, contender.requests, 1.0)  # warm-up: caches, connections, verified tokens
    measured: dict[str, list[Round]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            measured[contender.name].append(_measure(contender, load, seconds))
    return measured


def _measure(contender: Contender, load: LoadClient, seconds: float) -> Round:
    before = contender.processes.cpu_seconds()
    result = load.run(contender.port, contender.requests, seconds)
    used = {name: now - before[name] for name, now in contender.processes.cpu_seconds().items()}
    stores = sum(value for name, value in used.items() if name.lower() in _STORES)
    count = result["answered"]
    return Round(
        rate=count / result["seconds"],
        cpu_us=(sum(used.values()) - stores) / count * 1e6,
        stores_us=stores / count * 1e6,
        p50_ms=result["p50_ms"],
        p99_ms=result["p99_ms"],
    )


def _report(name: str, title: str, measured: dict[str, list[Round]], base: list[Round]) -> Report:
    columns = ("server", "req/s", "CPU us/req", "stores us/req", "p50 ms", "p99 ms", "req/s ratio", "CPU ratio")
    report = Report(name, title, columns, raw={what: [one._asdict() for one in found] for what, found in measured.items()})
    for what, found in measured.items():
        middle = [median(getattr(one, column) for one in found) for column in Round._fields]
        report.rows.append((what, *middle, _ratio(found, base, "rate"), _ratio(found, base, "cpu_us")))
    rounds = len(base)
    report.notes.append(
        f"medians of {rounds} alternating rounds, 32 connections, {USERS} users; ratios are medians of the rounds'"
    )
    return report


def _ratio(ours: list[Round], theirs: list[Round], column: str) -> float:
    """Return the median of the rounds' ratios: what slows a round down slows both."""
    pairs: list[tuple[Any, Any]] = list(zip(ours, theirs, strict=True))
    return float(median(getattr(one, column) / getattr(other, column) for one, other in pairs))
