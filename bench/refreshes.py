"""P19: refreshes of sessions over HTTP, each with the token that the one before gave.

Each connection refreshes a session of its own, as fast as it is answered; the rotation is persisted by then. What counts is
the CPU time of a refresh: of the platform's Python processes, gateway and auth, and of PostgreSQL.
"""

import asyncio
import contextlib
import os
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple

import httpx
import orjson

from bench.processes import HOST, Processes, lasting
from bench.report import Report, Target
from bench.servers import SETTINGS, STORES, platform

CONNECTIONS = (8, 64)
_FAST = {"STYLOBATE_AUTH_REFRESH_IP": "1000000/second"}
_PASSWORD = "not a secret of anybody"


class _Round(NamedTuple):
    rate: float
    """Refreshes a second."""
    python_us: float
    stores_us: float


def measure(rounds: int, seconds: int) -> Report:
    """P19."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        port, processes = stack.enter_context(platform(Path(folder), environment=dict(SETTINGS) | _FAST))
        tokens = _sessions(port, max(CONNECTIONS))
        found: dict[int, list[_Round]] = {count: [] for count in CONNECTIONS}
        for number in range(-1, rounds):  # the first is for warming up
            for count in CONNECTIONS:
                one = asyncio.run(_round(port, processes, tokens, count, lasting(number, seconds)))
                if number >= 0:
                    found[count].append(one)
    report = Report("P19", "refreshing a session", ("connections", "refreshes/s", "Python CPU us each", "stores CPU us each"))
    for count, some in found.items():
        middle = [median(getattr(one, column) for one in some) for column in _Round._fields]
        report.rows.append((str(count), *middle))
        each_us = median(one.python_us + one.stores_us for one in some)
        report.targets.append(
            Target(f"refreshes for a second of CPU, {count} connections", 1e6 / each_us, 1000, at_least=True, unit="/s")
        )
    report.notes.append(
        f"medians of {rounds} rounds of {seconds} s; one process; the CPU of gateway, auth and the stores together"
    )
    report.raw = {str(count): [one._asdict() for one in some] for count, some in found.items()}
    return report


def _sessions(port: int, count: int) -> list[str]:
    """Return the refresh token of a session for each account."""
    tokens = []
    with httpx.Client(base_url=f"http://{HOST}:{port}/v1/auth", timeout=30) as client:
        for number in range(count):
            who = {"email": f"user-{number}-{os.urandom(4).hex()}@example.com", "password": _PASSWORD}
            client.post("/register", json=who).raise_for_status()
            tokens.append(client.post("/login", json=who).raise_for_status().json()["refresh_token"])
    return tokens


async def _round(port: int, processes: Processes, tokens: list[str], count: int, seconds: float) -> _Round:
    begun, cpu = perf_counter(), processes.cpu_seconds()
    done = await asyncio.gather(*(_keep_on(port, tokens, number, begun + seconds) for number in range(count)))
    took, total = perf_counter() - begun, sum(done)
    used = {name: now - cpu[name] for name, now in processes.cpu_seconds().items()}
    stores = sum(spent for name, spent in used.items() if name in STORES)
    return _Round(total / took, (sum(used.values()) - stores) / total * 1e6, stores / total * 1e6)


async def _keep_on(port: int, tokens: list[str], number: int, until: float) -> int:
    """Refresh one session until then; return how often."""
    reader, writer = await asyncio.open_connection(HOST, port)
    done = 0
    while perf_counter() < until:
        body = orjson.dumps({"refresh_token": tokens[number]})
        fields = f"Host: {HOST}:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        head = f"POST /v1/auth/refresh HTTP/1.1\r\n{fields}"
        writer.write(head.encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answer.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        content = await reader.readexactly(length)
        if not answer.startswith(b"http/1.1 200"):
            raise RuntimeError(f"a refresh was refused: {content!r}")
        tokens[number] = orjson.loads(content)["refresh_token"]
        done += 1
    writer.close()
    return done
