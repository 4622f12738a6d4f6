"""P7: password logins beside the bare Argon2 verifications that they consist of, with the platform's default parameters.

Compared is CPU time: that of the platform's Python processes per login, and of this process per verification in as many threads
as the platform hashes in; the two take turns. Whether hashing holds up the event loop is told by a timer in that loop, every 5
ms, and by what one connection waits that calls an action every 20 ms. What these cost is measured before, without logins, and is
taken off.
"""

import contextlib
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple

import argon2
import httpx
import orjson
from stylobate.config import Sources
from stylobate_auth.settings import AuthSettings

from bench.processes import HOST, Load, Processes, lasting
from bench.report import Report, Target
from bench.servers import SETTINGS, STORES, User, platform, users

USERS = 32
CONNECTIONS = 8
_PAUSE_S = 0.02
_PASSWORD = "not a secret"
_ORDER = '{"items":[{"sku":"a-1","quantity":2}]}'


class _Round(NamedTuple):
    verifies: float
    """A second."""
    verify_ms: float
    """CPU of one."""
    logins: float
    login_ms: float
    login_p50_ms: float
    login_p99_ms: float
    other_p50_ms: float
    """Of the action while there are logins."""
    other_p99_ms: float
    late_ms: list[float]
    """Of each timer of the event loop meanwhile."""


class _Platform(NamedTuple):
    port: int
    processes: Processes
    logins: list[str]
    action: list[str]
    watch: Callable[[float], list[float]]
    """Run timers on the event loop for that many seconds; return how late each one was, in ms."""

    def cpu_seconds(self) -> float:
        """Return the CPU time used, stores apart."""
        return sum(used for name, used in self.processes.cpu_seconds().items() if name not in STORES)


def measure(rounds: int, seconds: float) -> Report:
    """P7."""
    settings = AuthSettings.load(Sources(environ={"STYLOBATE_AUTH_SIGNING_KEY": "x" * 32}, folders=()))
    hasher = argon2.PasswordHasher(
        time_cost=settings.argon2_time_cost, memory_cost=settings.argon2_memory_kib, parallelism=settings.argon2_parallelism
    )
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        folder = enter(tempfile.TemporaryDirectory())
        port, processes = enter(platform(Path(folder), environment=SETTINGS))
        server = _prepared(port, processes, users(port, USERS))
        load, probe = enter(Load.open()), enter(Load.open())
        cpu = server.cpu_seconds()
        alone, late = _meanwhile(server, probe, seconds)
        call_s = (server.cpu_seconds() - cpu) / alone["answered"]
        found = []
        for number in range(-1, rounds):  # the first is for warming up
            length = lasting(number, seconds)
            one = _log_in(server, load, probe, length, call_s, bare=_verify(hasher, settings.threads, length))
            if number >= 0:
                found.append(one)
    return _report(found, alone, late, settings)


def _prepared(port: int, processes: Processes, known: list[User]) -> _Platform:
    logins = [
        _post(port, "/v1/auth/login", orjson.dumps({"email": one.email, "password": one.password}).decode()) for one in known
    ]
    action = _post(port, "/v1/actions/bench.price", _ORDER, f"Authorization: Bearer {known[0].token}\r\n")
    watching = httpx.Client(base_url=f"http://{HOST}:{port}", headers={"Authorization": f"Bearer {known[0].token}"}, timeout=30)

    def watch(seconds: float) -> list[float]:
        answer = watching.post("/v1/actions/bench.lateness", json={"seconds": seconds}).raise_for_status()
        return [*map(float, answer.json())]

    return _Platform(port, processes, logins, [action], watch)


def _post(port: int, path: str, body: str, more: str = "") -> str:
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nContent-Type: application/json\r\n{more}Content-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}"


def _verify(hasher: argon2.PasswordHasher, threads: int, seconds: float) -> tuple[float, float]:
    """Return verifications a second and the CPU time of one in ms."""
    made = hasher.hash(_PASSWORD)
    begun, cpu = perf_counter(), process_time()

    def keep_on() -> int:
        done = 0
        while perf_counter() < begun + seconds:
            hasher.verify(made, _PASSWORD)
            done += 1
        return done

    with ThreadPoolExecutor(threads) as executor:
        count = sum(task.result() for task in [executor.submit(keep_on) for _ in range(threads)])
    return count / (perf_counter() - begun), (process_time() - cpu) / count * 1e3


def _meanwhile(server: _Platform, probe: Load, seconds: float) -> tuple[dict[str, Any], list[float]]:
    """Call the action and watch the event loop; return what came of the calls, and how late timers were."""
    with ThreadPoolExecutor(1) as executor:
        watching = executor.submit(server.watch, seconds)
        return probe.run(server.port, server.action, seconds, 1, pause_s=_PAUSE_S), watching.result()


def _log_in(server: _Platform, load: Load, probe: Load, seconds: float, call_s: float, *, bare: tuple[float, float]) -> _Round:
    """Return the figures of a round.

    :param call_s: the CPU time of a call of the action. :param bare: what :func:`_verify` found.
    """
    with ThreadPoolExecutor(1) as executor:
        cpu = server.cpu_seconds()
        other = executor.submit(_meanwhile, server, probe, seconds)
        logins = load.run(server.port, server.logins, seconds, CONNECTIONS)
        beside, late = other.result()
        cpu = server.cpu_seconds() - cpu - beside["answered"] * call_s
    return _Round(
        *bare,
        logins["answered"] / logins["seconds"],
        cpu / logins["answered"] * 1e3,
        logins["p50_ms"],
        logins["p99_ms"],
        beside["p50_ms"],
        beside["p99_ms"],
        late,
    )


def _report(found: list[_Round], alone: dict[str, Any], late_alone: list[float], settings: AuthSettings) -> Report:
    middle = {name: median(getattr(one, name) for one in found) for name in _Round._fields if name != "late_ms"}
    late = [ms for one in found for ms in one.late_ms]
    report = Report("P7", "password logins", ("what", "a second", "CPU ms each", "p50 ms", "p99 ms"))
    report.rows += [
        (f"bare Argon2 verification, {settings.threads} threads", middle["verifies"], middle["verify_ms"], "", ""),
        (
            f"login, {CONNECTIONS} connections",
            *(middle[name] for name in ("logins", "login_ms", "login_p50_ms", "login_p99_ms")),
        ),
        ("an action meanwhile", "", "", middle["other_p50_ms"], middle["other_p99_ms"]),
        ("the same action without logins", "", "", alone["p50_ms"], alone["p99_ms"]),
        ("how late the event loop is meanwhile", "", "", median(late), _p99(late)),
        ("without logins", "", "", median(late_alone), _p99(late_alone)),
    ]
    share = median(one.verify_ms / one.login_ms for one in found)
    report.targets += [
        Target("a verification's CPU to a login's", share, 0.8, at_least=True),
        Target("how late the event loop is while there are logins, p99", _p99(late), 10, unit="ms"),
    ]
    report.notes.append(
        f"medians of {len(found)} alternating rounds; {settings.argon2_memory_kib} KiB, {settings.argon2_time_cost} passes, "
        f"{settings.argon2_parallelism} lane; {USERS} users; {len(late)} timers of 5 ms"
    )
    report.raw = {"rounds": [one._asdict() for one in found], "alone": alone, "late_alone_ms": late_alone}
    return report


def _p99(times: list[float]) -> float:
    return sorted(times)[len(times) * 99 // 100]
