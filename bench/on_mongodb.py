"""P25: the platform on MongoDB beside itself on PostgreSQL.

Durable transitions through the state manager on both, and on MongoDB single writes as well: the same write, with its event, in a
transaction of its own, and one `findAndModify` on a document, which keeps neither history nor event. Then `stylobate up` on both,
for the first time and again; both are left idle and weighed, and then asked for P1's action in turns. Both write to disk before
they answer. Without a `mongod` there is nothing to measure, and one line says so.
"""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil
import uvloop
from stylobate.app.storage import MongoStorage, PostgresStorage, Storage
from stylobate.database import DatabaseManager
from stylobate.database.mongodb import MongoManager
from stylobate.database.schema import migrator_of
from stylobate.launcher.embedded import EmbeddedMongo, EmbeddedPostgres, EmbeddedServerError, EmbeddedValkey
from stylobate.launcher.embedded.mongodb import binary
from stylobate.redis import RedisManager
from stylobate.testing.logs import plain_logs
from stylobate.testing.ports import free_ports
from stylobate_state.adapters import adapters_of
from stylobate_state.spec import SPEC

from bench.contenders import Contender, request
from bench.http_action import SCENES, Scene, measured
from bench.http_action import Round as Call
from bench.processes import Load, Processes, lasting
from bench.report import Report, Target
from bench.servers import QUICK_HASHES, SETTINGS, STORES, embedded, platform, users
from bench.transitions import DATA, IN_FLIGHT, LAMPS, Batched, OneByOne, Round, Side, fill, managed, one_round

_CONNECTIONS = 32
_USERS = 32
_SETTLE_S = _IDLE_S = 5.0
_KINDS = ("PostgreSQL", "MongoDB")
_OURS = {kind: f"{kind}, the manager, in batches" for kind in _KINDS}
_SINGLE = "MongoDB, a transaction for each write"
_BARE = "MongoDB, one findAndModify each, no event"
_SCENES: tuple[Scene, ...] = SCENES[:2]
_Rounds = dict[str, list[Round]]


class _Bare:
    """Documents that are changed by one operation each, and nothing else."""

    def __init__(self, database: MongoManager) -> None:
        self._database = database

    async def write(self, number: int) -> None:
        """Write the next version."""
        changed = {"$inc": {"version": 1}, "$set": {"status": "on", "data": DATA.decode()}}
        await self._database.find_and_update("bare", {"_id": number}, changed, upsert=True)


class _Racer(NamedTuple):
    side: Side
    server: psutil.Process


@contextlib.asynccontextmanager
async def _race(postgres: EmbeddedPostgres, mongo: EmbeddedMongo, valkey: EmbeddedValkey) -> AsyncIterator[dict[str, _Racer]]:
    for url in (postgres.url, mongo.url):
        await migrator_of(url, "state", SPEC.migrations).upgrade()
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        redis = await enter(RedisManager.open(valkey.url))
        relational: Storage = PostgresStorage(await enter(DatabaseManager.open(postgres.url, service="state")))
        documents: Storage = MongoStorage(await enter(MongoManager.open(mongo.url, service="state")))
        many = await enter(MongoManager.open(mongo.url, service="state", pool_size=_CONNECTIONS))
        servers = dict(zip(_KINDS, (psutil.Process(one.process.pid) for one in (postgres, mongo)), strict=True))
        found: dict[str, _Racer] = {}
        for kind, storage in zip(_KINDS, (relational, documents), strict=True):
            there = await enter(managed(storage, redis, {LAMPS.name: LAMPS}))
            names = ("batched", "single") if kind == "MongoDB" else ("batched",)
            await fill(there.manager, [(LAMPS.name, f"{name}-{number}") for name in names for number in range(IN_FLIGHT)])
            found[_OURS[kind]] = _Racer(Batched(there.manager, LAMPS.name), servers[kind])
        store = adapters_of(MongoStorage(many)).store
        found[_SINGLE] = _Racer(OneByOne("single", store, there.relay), servers["MongoDB"])
        found[_BARE] = _Racer(_Bare(many), servers["MongoDB"])
        yield found


async def _transitions(rounds: int, seconds: float) -> _Rounds:
    found: _Rounds = {}
    async with (
        embedded(EmbeddedPostgres) as postgres,
        embedded(lambda data, _run: EmbeddedMongo(data, free_ports())) as mongo,
        embedded(EmbeddedValkey) as valkey,
        _race(postgres, mongo, valkey) as racers,
    ):
        for number in range(-1, rounds):  # the first is for warming up
            for name, racer in racers.items() if number % 2 else reversed(racers.items()):
                one = await one_round(racer.side, lasting(number, seconds), racer.server)
                if number >= 0:
                    found.setdefault(name, []).append(one)
    return found


class _Running(NamedTuple):
    """A platform that is up."""

    port: int
    processes: Processes
    started_s: float

    def cpu_seconds(self) -> dict[str, float]:
        """Return the CPU time of the platform's own processes, and of the servers apart, by name."""
        used = self.processes.cpu_seconds()
        return {"platform": sum(spent for name, spent in used.items() if name not in STORES)} | {
            name: spent for name, spent in used.items() if name in STORES
        }

    def memory_mb(self) -> dict[str, float]:
        """Return the proportional set sizes of the same."""
        weighed = {name: pss for name, (_, pss) in self.processes.memory_mb().items()}
        return {"platform": sum(pss for name, pss in weighed.items() if name not in STORES)} | {
            name: pss for name, pss in weighed.items() if name in STORES
        }


@contextlib.contextmanager
def _up(folder: Path, kind: str) -> Iterator[_Running]:
    began, settings = time.monotonic(), SETTINGS | QUICK_HASHES
    with platform(folder, "--database", kind.lower(), environment=settings) as (port, processes):
        yield _Running(port, processes, time.monotonic() - began)


class _Whole(NamedTuple):
    """What was found of platforms as a whole, of each kind of database."""

    first_s: dict[str, float]
    later_s: dict[str, float]
    memory_mb: dict[str, dict[str, float]]
    idle_ms: dict[str, dict[str, float]]
    """CPU a second."""
    calls: dict[tuple[str, str], list[Call]]
    """By scene and kind."""


def _platforms(rounds: int, seconds: int) -> _Whole:
    found = _Whole({}, {}, {}, {}, {})
    with contextlib.ExitStack() as stack:
        folders = {kind: Path(stack.enter_context(tempfile.TemporaryDirectory())) for kind in _KINDS}
        for kind, folder in folders.items():
            with _up(folder, kind) as one:
                found.first_s[kind] = one.started_s
        running = {kind: stack.enter_context(_up(folder, kind)) for kind, folder in folders.items()}
        found.later_s.update({kind: one.started_s for kind, one in running.items()})
        time.sleep(_SETTLE_S)  # idle is what is being measured
        before, since = {kind: one.cpu_seconds() for kind, one in running.items()}, time.monotonic()
        time.sleep(_IDLE_S)
        for kind, one in running.items():
            used, passed = one.cpu_seconds(), time.monotonic() - since
            found.idle_ms[kind] = {name: (spent - before[kind][name]) / passed * 1e3 for name, spent in used.items()}
            found.memory_mb[kind] = one.memory_mb()
        asked = [_contender(kind, one) for kind, one in running.items()]
        load = stack.enter_context(Load.open())
        for scene in _SCENES:
            for number in range(-1, rounds):  # the first is for warming up
                for contender in asked if number % 2 else reversed(asked):
                    call = measured(contender, scene, load, seconds)
                    if number >= 0:
                        found.calls.setdefault((scene.name, contender.name), []).append(call)
    return found


def _contender(kind: str, one: _Running) -> Contender:
    tokens = [user.token for user in users(one.port, _USERS)]
    requests = [request("/v1/actions/bench.price", one.port, Authorization=f"Bearer {token}") for token in tokens]
    return Contender(kind, one.port, one.processes, requests, requests)


def measure(rounds: int, seconds: float, calls: int) -> Report:
    """P25.

    :param calls: rounds of P1's action. Of two platforms that are alike, one round alone shows the other at 0.8 to 1.2.
    """
    report = Report("P25", "on MongoDB and on PostgreSQL", ("what", *_KINDS, "ratio"))
    try:
        binary()
    except EmbeddedServerError:
        report.rows.append(("there is no mongod here", "", "", ""))
        return report
    plain_logs()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        writes = runner.run(_transitions(rounds, seconds))
    whole = _platforms(calls, 1)
    _tell_writes(report, writes)
    _tell_platforms(report, whole)
    report.notes.append(
        f"medians of alternating rounds: {rounds} of writes, {IN_FLIGHT} in flight, and {calls} of the action, by {_USERS} users"
    )
    report.raw = {name: [one._asdict() for one in some] for name, some in writes.items()}
    report.raw |= {f"{kind}, {scene}": [one._asdict() for one in some] for (scene, kind), some in whole.calls.items()}
    return report


def _tell_writes(report: Report, found: _Rounds) -> None:
    middle = {name: Round(*(median(column) for column in zip(*some, strict=True))) for name, some in found.items()}
    relational, documents = (middle[_OURS[kind]] for kind in _KINDS)
    told = ("transitions/s, the manager, in batches", "  client CPU us", "  server CPU us")
    report.rows += [(what, one, other, other / one) for what, one, other in zip(told, relational, documents, strict=True)]
    for name in (_SINGLE, _BARE):
        what = name.removeprefix("MongoDB, ")
        report.rows.append((f"writes/s, {what}", "", middle[name].rate, ""))
        report.rows += [(f"  {of} CPU us", "", cost, "") for of, cost in zip(("client", "server"), middle[name][1:], strict=True)]
        ratio = median(ours.rate / theirs.rate for ours, theirs in zip(found[_OURS["MongoDB"]], found[name], strict=True))
        report.targets.append(Target(f"transitions/s on MongoDB against {what}", ratio, 3.0, at_least=True))


def _tell_platforms(report: Report, found: _Whole) -> None:
    for what, by in (("first run to the first 200, s", found.first_s), ("later run to the first 200, s", found.later_s)):
        one, other = (by[kind] for kind in _KINDS)
        report.rows.append((what, one, other, other / one))
        report.targets.append(Target(f"on MongoDB, {what.partition(' to')[0]}", other, 5.0, unit="s"))
    for what, by_name in (("idle, PSS MB", found.memory_mb), ("idle, CPU ms a second", found.idle_ms)):
        for name in ("platform", "database", "valkey"):
            one, other = (by_name[kind][_server(kind) if name == "database" else name] for kind in _KINDS)
            report.rows.append((f"{what}, {name}", one, other, other / one if one else ""))
    for scene in _SCENES:
        for what, column in (("CPU", "cpu_us"), ("stores' CPU", "stores_us")):
            costs = [[getattr(call, column) for call in found.calls[scene.name, kind]] for kind in _KINDS]
            ratio = median(mine / theirs for theirs, mine in zip(*costs, strict=True))
            report.rows.append((f"an action, {scene.name} connections, {what} us", *map(median, costs), ratio))
            if column == "cpu_us":
                told = f"CPU of an action on MongoDB, {scene.name} connections"
                report.targets.append(Target(told, ratio, 1.1, unit="x PostgreSQL"))


def _server(kind: str) -> str:
    return {"PostgreSQL": "postgres", "MongoDB": "mongodb"}[kind]
