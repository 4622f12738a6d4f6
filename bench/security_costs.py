"""P23: what each part of security costs, beside the platform without it, in one run.

All platforms are up at once and asked in turns, so that whatever else the machine does is the same for all. `stylobate up` in one
process: with accounts in the clear and no Vault, with encrypted accounts, with OpenBao. Two processes of `stylobate serve`, as
TLS and discovery are between processes: without either, with TLS everywhere (clients, between services, PostgreSQL, Redis), found
by DNS, found by a Consul. Compared is the CPU time of the Python processes for a request; an encrypted field is compared within
one platform, with the same change of an object that has none.

What an encrypted field adds to a change that writes it is measured where it is added, too: an object is opened, its field is set
and sealed, and the answer is opened; over HTTP some microseconds cannot be told from what a second brings.
"""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import process_time

import orjson
from stylobate.declarations.model import NamespaceDeclaration
from stylobate.encryption import DataKeys, SecretKeyEncryption
from stylobate.encryption.memory import MemoryDataKeyStore
from stylobate.testing.authority import Authority
from stylobate_state.model import StateKey, StateRecord
from stylobate_state.namespace import Namespace
from stylobate_state.sealing import Sealing

from bench.processes import HOST, Load, lasting
from bench.report import Report, Target
from bench.served import Place, consul, served, servers
from bench.servers import SETTINGS, STORES, User, client_of, platform, users

_USERS, _CONNECTIONS = 8, 8
_OBJECTS, _TIMES = 64, 20_000
_SETTLE_S = 3.0
_UP, _SEALED, _VAULT = "one process", "accounts encrypted", "with a Vault"
_FIELD = "a field encrypted"
_SERVED, _TLS, _DNS, _CONSUL = "two processes", "TLS everywhere", "found by DNS", "found by a Consul"
_BASES = {_SEALED: _UP, _VAULT: _UP, _FIELD: _SEALED, _TLS: _SERVED, _DNS: _SERVED, _CONSUL: _SERVED}
_ACTION, _TRANSITION, _LOGIN = "an action", "a transition", "a login"
_CLEAR = {"STYLOBATE_AUTH_ENCRYPT_ACCOUNTS": "false"}
_APART = (*STORES, "vault")
_ORDER = '{"items":[{"sku":"a-1","quantity":2},{"sku":"b-22","quantity":1}]}'
_LAMPS, _PEOPLE = "bench-lamps", "bench-people"
_DATA = {"name": "Ada", "ssn": "078-05-1120"}


@dataclass
class _Platform:
    name: str
    place: Place
    authority: Authority | None
    start_cpu_s: float = 0.0
    """CPU time until the first request was answered."""
    memory_mb: float = 0.0
    known: Sequence[User] = ()

    @classmethod
    def of(cls, name: str, place: Place, authority: Authority | None = None) -> "_Platform":
        """Return one that has just begun to answer."""
        made = cls(name, place, authority)
        made.start_cpu_s = made.cpu_seconds()
        return made

    def cpu_seconds(self) -> float:
        """Return the CPU time used, servers that are not ours apart."""
        return sum(used for name, used in self.place.processes.cpu_seconds().items() if name not in _APART)

    def weigh(self) -> None:
        """Note the proportional set size of the same: pages that several hold are shared out."""
        self.memory_mb = sum(sizes[1] for name, sizes in self.place.processes.memory_mb().items() if name not in _APART)

    def prepare(self) -> None:
        """Make what requests are about: people, and an object of each in each namespace."""
        self.known = users(self.place.port, _USERS, self.authority)
        with client_of(self.place.port, self.authority) as client:
            for number, one in enumerate(self.known):
                for namespace in (_LAMPS, _PEOPLE):
                    headers = {"Authorization": f"Bearer {one.token}"}
                    client.put(f"/state/{namespace}/{number}", json={"data": _DATA}, headers=headers).raise_for_status()


_Found = dict[tuple[str, str], list[float]]
"""CPU microseconds of each round, by what was asked and of which platform, or part."""


def measure(rounds: int, seconds: float) -> Report:
    """P23."""
    with contextlib.ExitStack() as stack:
        places = [stack.enter_context(one) for one in _in_one_process()]
        beside = stack.enter_context(servers())
        if beside is not None:
            kinds = {_SERVED: "ipv4:{}", _TLS: "ipv4:{}", _DNS: "dns:///{}", _CONSUL: stack.enter_context(consul())}
            for number, (name, found_by) in enumerate(kinds.items()):
                run = served(beside, f"served{number}", number, has_tls=name == _TLS, found_by=found_by)
                places.append(_Platform.of(name, stack.enter_context(run), beside.authority if name == _TLS else None))
        time.sleep(_SETTLE_S)  # idle is what is weighed, before the first password is hashed
        for one in places:
            one.weigh()
        for one in places:
            one.prepare()
        load = stack.enter_context(Load.open())
        jobs = {(_ACTION, one.name): (one, _actions(one)) for one in places}
        jobs |= {(_TRANSITION, one.name): (one, _transitions(one, _LAMPS)) for one in places}
        (sealed,) = (one for one in places if one.name == _SEALED)
        jobs[_TRANSITION, _FIELD] = sealed, _transitions(sealed, _PEOPLE)
        jobs |= {(_LOGIN, one.name): (one, _logins(one)) for one in places}
        found: _Found = {job: [] for job in jobs}
        for number in range(-1, rounds):  # the first is for warming up
            for job in jobs if number % 2 == 0 else reversed(jobs):
                cost = _cost(load, *jobs[job], lasting(number, seconds))
                if number >= 0:
                    found[job].append(cost)
    return _report(found, places, rounds)


def _in_one_process() -> Iterator[contextlib.AbstractContextManager[_Platform]]:
    yield _up(_UP, environment=_CLEAR)
    yield _up(_SEALED)
    yield _up(_VAULT, "--vault", environment=_CLEAR)


@contextlib.contextmanager
def _up(name: str, *arguments: str, environment: dict[str, str] | None = None) -> Iterator[_Platform]:
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        with platform(Path(folder), *arguments, environment=SETTINGS | (environment or {})) as (port, processes):
            yield _Platform.of(name, Place(port, processes, time.monotonic() - began))


def _cost(load: Load, of: _Platform, requests: list[str], seconds: float) -> float:
    """Return the CPU time of a request in microseconds."""
    before, authority = of.cpu_seconds(), "" if of.authority is None else str(of.authority.file)
    answered: int = load.run(of.place.port, requests, seconds, _CONNECTIONS, authority=authority)["answered"]
    return (of.cpu_seconds() - before) / answered * 1e6


def _request(of: _Platform, line: str, body: str, token: str = "") -> str:
    lines = [f"{line} HTTP/1.1", f"Host: {HOST}:{of.place.port}", *([f"Authorization: Bearer {token}"] if token else ())]
    return "\r\n".join([*lines, "Content-Type: application/json", f"Content-Length: {len(body)}", "", body])


def _actions(of: _Platform) -> list[str]:
    return [_request(of, "POST /v1/actions/bench.price", _ORDER, one.token) for one in of.known]


def _transitions(of: _Platform, namespace: str) -> list[str]:
    lines = (f"POST /v1/state/{namespace}/{number}/transitions/press" for number in range(_USERS))
    return [_request(of, line, "{}", one.token) for line, one in zip(lines, of.known, strict=True)]


def _logins(of: _Platform) -> list[str]:
    bodies = [orjson.dumps({"email": one.email, "password": one.password}).decode() for one in of.known]
    return [_request(of, "POST /v1/auth/login", body) for body in bodies]


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


def _costs(found: Sequence[float] | None, base: Sequence[float] | None) -> str:
    return "" if found is None else _cell(median(found), _more(found, base) if base is not None else None)


def _cell(value: float, more: float | None, digits: int = 0) -> str:
    return f"{value:,.{digits}f}" if more is None else f"{value:,.{digits}f} ({more:+,.{digits}f})"


def _report(found: _Found, places: list[_Platform], rounds: int) -> Report:
    asked = (_ACTION, _TRANSITION, _LOGIN)
    columns = ("platform", *(f"{what}, CPU us" for what in asked), "start, s", "start, CPU s", "idle, PSS MB")
    report = Report("P23", "what encryption, a Vault, TLS and discovery cost", columns)
    known = {one.name: one for one in places}
    for name in (_UP, _SEALED, _FIELD, _VAULT, _SERVED, _TLS, _DNS, _CONSUL):
        base = _BASES.get(name)
        cells = [_costs(found.get((what, name)), found.get((what, base)) if base else None) for what in asked]
        if (one := known.get(name)) is not None:
            other = known.get(base) if base else None
            cells += [
                _cell(one.place.started_s, one.place.started_s - other.place.started_s if other else None, 2),
                _cell(one.start_cpu_s, one.start_cpu_s - other.start_cpu_s if other else None, 2),
                _cell(one.memory_mb, one.memory_mb - other.memory_mb if other else None),
            ]
        if any(cells):
            report.rows.append((name, *cells, *[""] * (len(columns) - 1 - len(cells))))
    change_us, read_us = (median(column) for column in zip(*(asyncio.run(_field()) for _ in range(rounds)), strict=True))
    login = _more(found[_LOGIN, _SEALED], found[_LOGIN, _UP]) / median(found[_LOGIN, _UP])
    report.targets += [
        Target("an encrypted address adds to a login's CPU", login, 0.1),
        Target("an encrypted field adds to a change", change_us, 20.0, unit="us"),
        Target("an encrypted field adds to a read", read_us, 20.0, unit="us"),
    ]
    report.notes.append(
        f"medians of {rounds} alternating rounds, {_CONNECTIONS} connections, {_USERS} users; in brackets: more than "
        "the platform without it, by rounds; databases, Valkey and OpenBao apart; the Consul is a contract server of our own"
    )
    report.raw = {f"{what}, {name}": each for (what, name), each in found.items()}
    return report
