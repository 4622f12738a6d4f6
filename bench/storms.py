"""P26: those who are connected, while thousands of others connect: plain and over TLS, beside FastAPI in the same run.

128 connections that are kept call an action 640 times a second together. Then newcomers come at a rate: each connects, calls it
once and goes. Over TLS each has a handshake of its own, whole and without a session of before. All clients run on the machine
that is measured, and take as much of it as they take: a handshake costs its client about what it costs the server.
"""

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import orjson

from bench import contenders
from bench.contenders import Contender, action
from bench.processes import HOST, Worker
from bench.report import Report, Target
from bench.served import served, servers
from bench.servers import STORES, baseline, users

_RESIDENTS, _THEIR_RATE = 128, 640
_USERS = 16
_BEFORE_S, _AFTER_S = 0.25, 0.25
_IN_TIME_S, _PATIENCE_S = 1.0, 4.0
_OURS, _FASTAPI = "Stylobate", "FastAPI"
_COLUMNS = (
    *("server", "newcomers", "came/s", "answered/s", "refused/s", "closed/s", "unheard/s", "CPU us each"),
    *("connected p50 ms", "connected p99 ms", "in a second"),
)


class Kind(NamedTuple):
    """Storms of one kind, and the servers that they come to, ours first."""

    name: str
    rates: Sequence[int]
    authority: str
    """The file that clients trust; empty: plain."""
    places: Sequence[Contender]


def measure(plain: Sequence[int], tls: Sequence[int], seconds: float) -> Report:
    """P26.

    :param plain: newcomers a second. :param tls: the same over TLS. :param seconds: for which they come.
    """
    report = Report("P26", "storms of new connections", _COLUMNS)
    with Clients.open() as clients:
        for kind in kinds(plain, tls):
            for rate in kind.rates:
                found = {one.name: storm(clients, kind, one, rate, seconds) for one in kind.places}
                report.rows += [_row(name, kind, one) for name, one in found.items()]
                report.raw[f"{kind.name} {rate}"] = found
    for what in ("plain", "TLS"):
        some = [one[_OURS]["residents"] for name, one in report.raw.items() if name.startswith(what)]
        if some:
            report.targets += [
                Target(f"p99 of who is connected, {what}, the worst", max(one["p99_ms"] for one in some), 100.0, unit="ms"),
                Target(f"of their calls in a second, {what}, the worst", min(map(_share, some)), 0.8, at_least=True),
            ]
    return report


def kinds(plain: Sequence[int], tls: Sequence[int]) -> Iterator[Kind]:
    """Run the servers of each kind while it is looked at; TLS only where the system has a PostgreSQL and a Redis."""
    with action(_OURS) as ours, baseline("plain_fastapi") as (port, processes):
        yield Kind("plain", plain, "", (ours, contenders.plain(_FASTAPI, port, processes)))
    with contextlib.ExitStack() as stack:
        beside = stack.enter_context(servers())
        if beside is None:  # `up` speaks no TLS, and `serve` brings no database
            return
        place = stack.enter_context(served(beside, "storms", 0, has_tls=True, is_one=True))
        tokens = [one.token for one in users(place.port, _USERS, beside.authority)]
        asked = [contenders.request("/v1/actions/bench.price", place.port, Authorization=f"Bearer {one}") for one in tokens]
        port, processes = stack.enter_context(baseline("plain_fastapi", tls=beside.authority.issue("fastapi")))
        ours = Contender(_OURS, place.port, place.processes, asked, asked)
        yield Kind("TLS", tls, str(beside.authority.file), (ours, contenders.plain(_FASTAPI, port, processes)))


class Clients(NamedTuple):
    """The processes that they are in."""

    residents: Worker
    newcomers: Worker

    @classmethod
    @contextlib.contextmanager
    def open(cls) -> Iterator["Clients"]:
        """Start both; they end with the context."""
        with Worker.open("residents") as residents, Worker.open("newcomers") as newcomers:
            yield cls(residents, newcomers)


def storm(clients: Clients, kind: Kind, place: Contender, rate: int, seconds: float) -> dict[str, dict[str, Any]]:
    """Return what became of the calls of residents, and of newcomers."""
    at = {"host": HOST, "port": place.port, "authority": kind.authority}
    half = max(1, len(place.plain) // 2)
    clients.residents.ask(at | {"requests": place.plain[:half], "connections": _RESIDENTS})
    before = _cpu_seconds(place)
    with ThreadPoolExecutor(1) as executor:
        lasting = {"rate": _THEIR_RATE, "seconds": _BEFORE_S + seconds + _AFTER_S, "patience_s": _IN_TIME_S}
        asking = executor.submit(clients.residents.ask, lasting)
        time.sleep(_BEFORE_S)
        requests = place.plain[half:] or place.plain
        came = clients.newcomers.ask(at | {"requests": requests, "rate": rate, "seconds": seconds, "patience_s": _PATIENCE_S})
        there = asking.result()
    came["cpu_us"] = (_cpu_seconds(place) - before) / (rate * seconds) * 1e6
    came["seconds"] = seconds
    return {"newcomers": came, "residents": there}


def _cpu_seconds(place: Contender) -> float:
    return sum(used for name, used in place.processes.cpu_seconds().items() if name not in STORES)


def _share(there: dict[str, Any]) -> float:
    return float(there["in_time"] / there["asked"])


def _row(name: str, kind: Kind, found: dict[str, dict[str, Any]]) -> tuple[Any, ...]:
    came, there = found["newcomers"], found["residents"]
    each = [came[what] / came["seconds"] for what in ("answered", "refused", "cut")]
    unheard = (came["late"] + came["unheard"] + came["other"]) / came["seconds"]
    return name, kind.name, came["offered"], *each, unheard, came["cpu_us"], there["p50_ms"], there["p99_ms"], _share(there)


def main() -> None:
    """``python -m bench.storms PLAIN TLS SECONDS``: a storm at each rate, then one newcomer a second; a line of JSON for each."""
    plain, tls, seconds = map(int, sys.argv[1:])
    with Clients.open() as clients:
        for kind in kinds([plain], [tls]):
            for rate, lasting in ((kind.rates[0], seconds), (1, 2)):
                found = storm(clients, kind, kind.places[0], rate, lasting)
                print(orjson.dumps({"kind": kind.name, "came": rate * lasting, **found}).decode(), flush=True)


if __name__ == "__main__":
    main()
