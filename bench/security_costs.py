"""P23: what encryption at rest and a Vault cost, beside the platform without them.

Three platforms are up at once and asked in turns, so that whatever else the machine does is the same for all: one that stores
accounts in the clear and has no Vault, one that encrypts them, one with OpenBao. Compared is the CPU time of the Python
processes for a request. An encrypted field is compared within one platform, with the same field in the clear. What TLS and
discovery cost stands where they are described.

What an encrypted field adds is measured where it is added: an object is opened, its field is set and sealed, and the answer is
opened, as a change does; over HTTP some microseconds cannot be told from what a second brings.
"""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import process_time
from typing import NamedTuple

import orjson
from stylobate.declarations.model import NamespaceDeclaration
from stylobate.encryption import DataKeys, SecretKeyEncryption
from stylobate.encryption.memory import MemoryDataKeyStore
from stylobate_state.model import StateKey, StateRecord
from stylobate_state.namespace import Namespace
from stylobate_state.sealing import Sealing

from bench.processes import HOST, Load, Processes, lasting
from bench.report import Report, Target
from bench.servers import SETTINGS, STORES, User, platform, users

_USERS, _CONNECTIONS = 8, 8
_OBJECTS, _TIMES = 64, 20_000
_BASE, _SEALED, _VAULT = "without", "accounts encrypted", "with a Vault"
_CLEAR = {"STYLOBATE_AUTH_ENCRYPT_ACCOUNTS": "false"}
_APART = (*STORES, "vault")
_ORDER = '{"items":[{"sku":"a-1","quantity":2},{"sku":"b-22","quantity":1}]}'


class _Platform(NamedTuple):
    name: str
    port: int
    processes: Processes
    started_s: float
    known: list[User]

    def cpu_seconds(self) -> float:
        """Return the CPU time used, servers that are not ours apart."""
        return sum(used for name, used in self.processes.cpu_seconds().items() if name not in _APART)

    def memory_mb(self) -> float:
        """Return the resident set size of the same: pages that platforms share are no less for that."""
        return sum(sizes[0] for name, sizes in self.processes.memory_mb().items() if name not in _APART)


def measure(rounds: int, seconds: float) -> Report:
    """P23."""
    with contextlib.ExitStack() as stack:
        places = [
            stack.enter_context(_running(_BASE, environment=_CLEAR)),
            stack.enter_context(_running(_SEALED)),
            stack.enter_context(_running(_VAULT, "--vault", environment=_CLEAR)),
        ]
        load = stack.enter_context(Load.open())
        memory = {one.name: one.memory_mb() for one in places}
        jobs = {("an action", one.name): (one, _actions(one)) for one in places}
        jobs |= {("a login", one.name): (one, _logins(one)) for one in places}
        found: dict[tuple[str, str], list[float]] = {job: [] for job in jobs}
        for number in range(-1, rounds):  # the first is for warming up
            for job in jobs if number % 2 == 0 else reversed(jobs):
                cost = _cost(load, *jobs[job], lasting(number, seconds))
                if number >= 0:
                    found[job].append(cost)
    return _report(found, places, memory, rounds)


@contextlib.contextmanager
def _running(name: str, *arguments: str, environment: dict[str, str] | None = None) -> Iterator[_Platform]:
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        with platform(Path(folder), *arguments, environment=SETTINGS | (environment or {})) as (port, processes):
            took = time.monotonic() - began
            yield _Platform(name, port, processes, took, users(port, _USERS))


def _cost(load: Load, place: _Platform, requests: list[str], seconds: float) -> float:
    """Return the CPU time of a request in microseconds."""
    before = place.cpu_seconds()
    answered: int = load.run(place.port, requests, seconds, _CONNECTIONS)["answered"]
    return (place.cpu_seconds() - before) / answered * 1e6


def _request(place: _Platform, line: str, body: str = "", token: str = "", kind: str = "application/json") -> str:
    lines = [f"{line} HTTP/1.1", f"Host: {HOST}:{place.port}", *([f"Authorization: Bearer {token}"] if token else ())]
    if body:
        lines += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", body])


def _actions(place: _Platform) -> list[str]:
    return [_request(place, "POST /v1/actions/bench.price", _ORDER, one.token) for one in place.known]


def _logins(place: _Platform) -> list[str]:
    bodies = [orjson.dumps({"email": one.email, "password": one.password}).decode() for one in place.known]
    return [_request(place, "POST /v1/auth/login", body) for body in bodies]


async def _field() -> tuple[float, float]:
    """Return the CPU time in microseconds that an encrypted field adds to a change of its object, and to a read of it."""
    keys = DataKeys(MemoryDataKeyStore(), SecretKeyEncryption("s" * 32, purpose="bench"))
    sealing, now = Sealing(keys), datetime.now(UTC)
    namespace = Namespace.of(NamespaceDeclaration("people", "bench", encrypted=("ssn",)), max_data_bytes=10_000)
    known: list[StateRecord] = []
    for number in range(_OBJECTS):
        key = StateKey("default", "people", str(number))
        data = await sealing.sealed(namespace, key, b'{"name":"Ada","ssn":"078-05-1120"}', owner="ada")
        known.append(StateRecord(key, 1, "", data, "ada", now, now))
    begun = process_time()
    for number in range(_TIMES):
        state = known[number % _OBJECTS]
        present = await sealing.whole(namespace, state)
        wanted = b'{"name":"Ada","ssn":"078-05-%d"}' % number
        data = await sealing.sealed(namespace, state.key, wanted, owner="ada", opened=present.data, stored=state.data)
        known[number % _OBJECTS] = state.opened(data, (), is_forgotten=False)
        await sealing.data(namespace, state.key, data)
    change_us = (process_time() - begun) / _TIMES * 1e6
    begun = process_time()
    for number in range(_TIMES):
        await sealing.one(namespace, known[number % _OBJECTS])
    return change_us, (process_time() - begun) / _TIMES * 1e6


def _more(found: Sequence[float], base: Sequence[float]) -> float:
    """Return the median of what the one took more than the other in the same round."""
    return median(one - other for one, other in zip(found, base, strict=True))


def _report(found: dict[tuple[str, str], list[float]], places: list[_Platform], memory: dict[str, float], rounds: int) -> Report:
    report = Report("P23", "what encryption and a Vault cost", ("what", "without", "with", "more"))
    more: dict[tuple[str, str], float] = {}
    for what in ("an action", "a login"):
        base = found[what, _BASE]
        for name in (_SEALED, _VAULT):
            more[what, name] = _more(found[what, name], base)
            cells = (median(base), median(found[what, name]), more[what, name])
            report.rows.append((f"{what}, {name}, CPU us", *cells))
    change_us, read_us = (median(column) for column in zip(*(asyncio.run(_field()) for _ in range(rounds)), strict=True))
    report.rows += [
        ("a change of an object with an encrypted field, CPU us", "", "", change_us),
        ("a read of it, CPU us", "", "", read_us),
    ]
    base_place, *others = places
    for one in others:
        took = (base_place.started_s, one.started_s, one.started_s - base_place.started_s)
        weight = (memory[_BASE], memory[one.name], memory[one.name] - memory[_BASE])
        report.rows += [
            (f"first start, {one.name}, s", *took),
            (f"memory after it, {one.name}, RSS MB", *weight),
        ]
    login = more["a login", _SEALED] / median(found["a login", _BASE])
    report.targets += [
        Target("an encrypted address adds to a login's CPU", login, 0.1),
        Target("an encrypted field adds to a change", change_us, 20.0, unit="us"),
        Target("an encrypted field adds to a read", read_us, 20.0, unit="us"),
    ]
    report.notes.append(
        f"medians of {rounds} alternating rounds, {_CONNECTIONS} connections, {_USERS} users; OpenBao itself apart"
    )
    report.raw = {f"{what}, {name}": each for (what, name), each in found.items()}
    return report
