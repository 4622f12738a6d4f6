"""P4: durable transitions at the StateManager, beside the same statement with one write each on the same server.

64 transitions are in flight, on a key each; the manager reads, decides, checks and collects writes into batches. The other side
is as lean as can be: it knows what to write and sends it, one statement (and so one transaction) per write, over 16 or 32
connections, whichever is quicker. PostgreSQL and Valkey are embedded ones, as durable as they are by default; the relay that
numbers events runs all the while. What indexes cost shows in namespaces of their own. Then half a minute of transitions without a
pause: what a table or an index that fills up costs shows in its last ten seconds. Transactions of five objects stand beside them,
and one of those at a time beside a single write.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from statistics import median
from time import perf_counter, process_time
from typing import NamedTuple, Protocol

import psutil
import uvloop
from stylobate.database import DatabaseManager, Migrator
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.declarations.model import (
    AccessRule,
    IndexDeclaration,
    IndexField,
    NamespaceAccess,
    NamespaceDeclaration,
    TransitionDeclaration,
)
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.identity import Principal
from stylobate.identity.resources import NOTHING, Granted
from stylobate.ids import new_id
from stylobate.launcher.embedded import EmbeddedPostgres, EmbeddedValkey
from stylobate.leases import LeaseManager
from stylobate.leases.postgres import PostgresLeaseStore
from stylobate.outbox import Relay
from stylobate.outbox.postgres import PostgresEventLog, PostgresNumbering
from stylobate.redis import RedisManager
from stylobate.rpc import LocalChannel, LocalServer, Servicers
from stylobate.stopping import end
from stylobate.testing.logs import plain_logs
from stylobate_state.hooks import BeforeHooks
from stylobate_state.index import all_indexes
from stylobate_state.model import Change, StateKey, Write, Written
from stylobate_state.operation import Put, Transition
from stylobate_state.settings import StateSettings
from stylobate_state.spec import SPEC
from stylobate_state.state_manager import Asked, StateManager
from stylobate_state.state_writer import Environment
from stylobate_state.store.postgres import PostgresStateStore

from bench.callers import USER
from bench.processes import cpu_seconds, lasting
from bench.report import Report, Target
from bench.servers import embedded

IN_FLIGHT = 64
TOGETHER = 5
"""Objects in a transaction."""
CONNECTIONS = (16, 32)
"""Of the side that writes one by one; the platform has its default of 10."""
_EDGE_S = 10
_ANYBODY = AccessRule(("authenticated",))
_DATA = b'{"items":[{"sku":"a-1","quantity":2}],"total":2000}'
_LAMPS = NamespaceDeclaration(
    name="lamps",
    module="bench",
    schema={"type": "object", "properties": {"total": {"type": "integer", "minimum": 1}}, "required": ["total"]},
    initial="off",
    statuses=("off", "on"),
    access=NamespaceAccess(read=_ANYBODY, list=_ANYBODY, create=_ANYBODY, write=_ANYBODY, delete=_ANYBODY),
    transitions={
        "switch_on": TransitionDeclaration("switch_on", ("off",), "on", _ANYBODY),
        "switch_off": TransitionDeclaration("switch_off", ("on",), "off", _ANYBODY),
    },
)
_OURS = "the manager, in batches"
_FIVE = f"transactions of {TOGETHER}"
_ALONE = "a write, nothing else in flight"
_FIVE_ALONE = f"a transaction of {TOGETHER}, nothing else in flight"
_STATUS, _TOTAL = IndexField("status", "text"), IndexField("total", "number")
_INDEXED = {
    "  with an index on what stays": replace(_LAMPS, name="lamps-total", indexes=(IndexDeclaration((_TOTAL,)),)),
    "  with an index on the status": replace(_LAMPS, name="lamps-status", indexes=(IndexDeclaration((_STATUS, _TOTAL)),)),
    "  with three indexes on the status": replace(
        _LAMPS,
        name="lamps-three",
        indexes=(
            IndexDeclaration((_STATUS,)),
            IndexDeclaration((_STATUS, _TOTAL)),
            IndexDeclaration((_STATUS, IndexField("created_at", "time"))),
        ),
    ),
}
"""The same in namespaces with indexes: what a write pays for them."""


class _Round(NamedTuple):
    rate: float
    """Writes a second."""
    client_us: float
    """CPU of this process per write, the relay included."""
    postgres_us: float


class _Side(Protocol):
    """Whoever writes."""

    async def write(self, number: int) -> None:
        """Write once, for the caller of this number."""


class _Nobody:
    """Grants no permission: none is asked for."""

    async def allowed(self, principal: Principal, permission: str, resource: str = "") -> bool:  # noqa: ARG002
        """Say no."""
        return False

    async def granted(self, principal: Principal, permission: str, under: str = "") -> Granted:  # noqa: ARG002
        """Nothing, to nobody."""
        return NOTHING


class _Batched:
    """Objects that the manager switches on and off."""

    def __init__(self, manager: StateManager, namespace: str) -> None:
        self._manager = manager
        self._namespace = namespace
        self._is_on = [False] * IN_FLIGHT

    async def write(self, number: int) -> None:
        """Fire the event that the object is due for."""
        event = "switch_off" if self._is_on[number] else "switch_on"
        self._is_on[number] = not self._is_on[number]
        await self._manager.change(USER, self._namespace, f"batched-{number}", Transition(event), expected=None)


class _Together:
    """Objects that the manager switches on and off, several in each transaction."""

    def __init__(self, manager: StateManager, size: int) -> None:
        self._manager = manager
        self._size = size
        self._is_on = [False] * IN_FLIGHT

    async def write(self, number: int) -> None:
        """Fire the event that the objects are due for."""
        event = "switch_off" if self._is_on[number] else "switch_on"
        self._is_on[number] = not self._is_on[number]
        fired = [Asked(_LAMPS.name, f"together-{self._size}-{number}-{part}", Transition(event)) for part in range(self._size)]
        await self._manager.transact(USER, fired)


class _OneByOne:
    """Objects whose writes go straight to the server, a statement each."""

    def __init__(self, name: str, store: PostgresStateStore, relay: Relay) -> None:
        self._store = store
        self._relay = relay
        self._keys = [StateKey(USER.tenant, _LAMPS.name, f"{name}-{number}") for number in range(IN_FLIGHT)]
        self._versions = [1] * IN_FLIGHT

    async def write(self, number: int) -> None:
        """Write the next version. Raises TypeError when it was refused."""
        expected = self._versions[number]
        is_on = expected % 2 == 0
        write = Write(
            key=self._keys[number],
            change=Change.TRANSITIONED,
            expected=expected,
            owner=USER.id,
            status="off" if is_on else "on",
            data=_DATA,
            actor=USER.id,
            event_id=new_id(),
            event="switch_off" if is_on else "switch_on",
            from_status="on" if is_on else "off",
        )
        (outcome,) = await self._store.write([write])
        if not isinstance(outcome, Written):
            raise TypeError(f"{write.key} was not written: {outcome}")
        self._versions[number] = outcome.version
        self._relay.wake()


class _Bench:
    """Both sides of the race on one server."""

    def __init__(
        self,
        postgres: psutil.Process,
        batched: _Batched,
        indexed: dict[str, _Batched],
        one_by_one: dict[str, _OneByOne],
        together: _Together,
    ) -> None:
        self._postgres = postgres
        self.batched = batched
        self.indexed = indexed
        self.one_by_one = one_by_one
        self.together = together

    async def round(self, side: _Side, seconds: float, in_flight: int = IN_FLIGHT) -> _Round:
        """Write without a pause."""
        begun, cpu, postgres = perf_counter(), process_time(), self._server_s()
        done = 0

        async def keep_on(number: int) -> None:
            nonlocal done
            while perf_counter() < begun + seconds:
                await side.write(number)
                done += 1

        await asyncio.gather(*map(keep_on, range(in_flight)))
        client_us = (process_time() - cpu) / done * 1e6
        return _Round(done / (perf_counter() - begun), client_us, (self._server_s() - postgres) / done * 1e6)

    def _server_s(self) -> float:
        """Return the CPU time of all of the server's processes, ended ones included."""
        times = self._postgres.cpu_times()
        spent = float(times.children_user + times.children_system)
        for process in (self._postgres, *self._postgres.children()):
            with contextlib.suppress(psutil.NoSuchProcess):
                spent += cpu_seconds(process)
        return spent


@contextlib.asynccontextmanager
async def _opened(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> AsyncIterator[_Bench]:
    await Migrator(postgres.url, "state", SPEC.migrations).upgrade()
    settings = StateSettings()
    async with contextlib.AsyncExitStack() as stack:
        database = await stack.enter_async_context(DatabaseManager.open(postgres.url, service="state"))
        redis = await stack.enter_async_context(RedisManager.open(valkey.url))
        leases = LeaseManager(PostgresLeaseStore(database), "bench")
        relay = Relay(PostgresEventLog(database, "state"), PostgresNumbering(database, "state"), leases, redis)
        namespaces = {declared.name: declared for declared in (_LAMPS, *_INDEXED.values())}
        store = PostgresStateStore(database, PostgresIdempotencyLedger(database))
        await store.declare(all_indexes(namespaces))
        environment = Environment(
            store=store,
            access=AccessEvaluator(_Nobody()),
            hooks=BeforeHooks(LocalChannel(LocalServer(Servicers())), settings.hook_timeout),  # none is declared
            committed=lambda _namespace: relay.wake(),
            clock=lambda: datetime.now(UTC),
            new_id=new_id,
        )
        opening = StateManager.open(namespaces, environment, max_data_bytes=settings.max_data_bytes)
        manager = await stack.enter_async_context(opening)
        sides = {}
        for size in CONNECTIONS:
            opened = await stack.enter_async_context(DatabaseManager.open(postgres.url, service="state", pool_size=size))
            own = PostgresStateStore(opened, PostgresIdempotencyLedger(opened))
            sides[f"one by one, {size} connections"] = _OneByOne(f"single-{size}", own, relay)
        for name in ("batched", *(f"single-{size}" for size in CONNECTIONS)):
            for number in range(IN_FLIGHT):
                await manager.change(USER, _LAMPS.name, f"{name}-{number}", Put(_DATA), expected=0)
        for declared in _INDEXED.values():
            for number in range(IN_FLIGHT):
                await manager.change(USER, declared.name, f"batched-{number}", Put(_DATA), expected=0)
        for number in range(IN_FLIGHT):
            for part in range(TOGETHER):
                await manager.change(USER, _LAMPS.name, f"together-{TOGETHER}-{number}-{part}", Put(_DATA), expected=0)
        task = asyncio.create_task(relay.run())
        stack.push_async_callback(end, [task])
        indexed = {name: _Batched(manager, declared.name) for name, declared in _INDEXED.items()}
        yield _Bench(
            psutil.Process(postgres.process.pid), _Batched(manager, _LAMPS.name), indexed, sides, _Together(manager, TOGETHER)
        )


_Found = dict[str, list[_Round]]


async def _measure(rounds: int, seconds: float, sustained_s: int) -> tuple[_Found, _Found, list[_Round]]:
    async with embedded(EmbeddedPostgres) as postgres, embedded(EmbeddedValkey) as valkey, _opened(postgres, valkey) as bench:
        sides: dict[str, _Side] = {_OURS: bench.batched, **bench.indexed, **bench.one_by_one, _FIVE: bench.together}
        found: dict[str, list[_Round]] = {name: [] for name in sides}
        for number in range(-1, rounds):  # the first is for warming up
            for name, side in sides.items() if number % 2 else reversed(sides.items()):
                one = await bench.round(side, lasting(number, seconds))
                if number >= 0:
                    found[name].append(one)
        alone: _Found = {_ALONE: [], _FIVE_ALONE: []}
        for number in range(-1, rounds):
            pairs: list[tuple[str, _Side]] = [(_ALONE, bench.batched), (_FIVE_ALONE, bench.together)]
            for name, side in pairs if number % 2 else reversed(pairs):
                one = await bench.round(side, lasting(number, seconds), in_flight=1)
                if number >= 0:
                    alone[name].append(one)
        sustained = [await bench.round(bench.batched, 1) for _ in range(sustained_s)]
    return found, alone, sustained


def measure(rounds: int, seconds: float, sustained_s: int) -> Report:
    """P4. The sustained run is one of at least 20 s."""
    plain_logs()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found, alone, sustained = runner.run(_measure(rounds, seconds, sustained_s))
    report = Report("P4", "durable transitions, 64 in flight", ("writes", "writes/s", "client CPU us", "PostgreSQL CPU us"))
    edges = {f"  first {_EDGE_S} of {sustained_s} s": sustained[:_EDGE_S], f"  last {_EDGE_S}": sustained[-_EDGE_S:]}
    for name, some in (found | edges | alone).items():
        report.rows.append((name, *(median(column) for column in zip(*some, strict=True))))
    first, last = (sum(one.rate for one in some) for some in edges.values())
    best = max(
        (name for name in found if name.startswith("one by one")), key=lambda name: median(one.rate for one in found[name])
    )
    ratio = median(ours.rate / theirs.rate for ours, theirs in zip(found[_OURS], found[best], strict=True))
    costs = [one.rate / five.rate for one, five in zip(alone[_ALONE], alone[_FIVE_ALONE], strict=True)]
    report.targets += [
        Target(f"a transaction of {TOGETHER} against one write, nothing else in flight", median(costs), 2.0),
        Target(f"writes/s against {best}", ratio, 2.0, at_least=True),
        Target(f"the last {_EDGE_S} of {sustained_s} s against the first", last / first, 0.9, at_least=True),
        Target("client CPU", median(one.client_us for one in found[_OURS]), 50.0, unit="us"),
    ]
    report.raw = {name: [one._asdict() for one in some] for name, some in (found | alone | {"sustained": sustained}).items()}
    report.notes.append(f"medians of {rounds} alternating rounds of {seconds:g} s; of the sustained run by the second")
    return report
