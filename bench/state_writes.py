"""P4: durable transitions at the StateManager, beside the same statement with one write each on the same server.

64 transitions are in flight, on a key each; the manager reads, decides, checks and collects writes into batches. The other side
is as lean as can be: it knows what to write and sends it, one statement (and so one transaction) per write, over 16 or 32
connections, whichever is quicker. PostgreSQL and Valkey are embedded ones, as durable as they are by default; the relay that
numbers events runs all the while. What indexes cost shows in namespaces of their own. Then 20 s of transitions without a
pause: what a table or an index that fills up costs shows in its last ten seconds, as writes for a second of CPU: what
else the machine does shows in the rate. Transactions of five objects stand beside them,
and one of those at a time beside a single write.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from statistics import median

import psutil
import uvloop
from stylobate.app.storage import PostgresStorage
from stylobate.database import DatabaseManager, Migrator
from stylobate.declarations.model import IndexDeclaration, IndexField
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.launcher.embedded import EmbeddedPostgres, EmbeddedValkey
from stylobate.redis import RedisManager
from stylobate.testing.logs import plain_logs
from stylobate_state.operation import Transition
from stylobate_state.spec import SPEC
from stylobate_state.state_manager import Asked, StateManager
from stylobate_state.store.postgres import PostgresStateStore

from bench.callers import USER
from bench.processes import lasting
from bench.report import Report, Target
from bench.servers import embedded
from bench.transitions import IN_FLIGHT, LAMPS, Batched, Managed, OneByOne, Round, Side, fill, managed, one_round

TOGETHER = 5
"""Objects in a transaction."""
CONNECTIONS = (16, 32)
"""Of the side that writes one by one; the platform has its default of 10."""
_EDGE_S = 10
_OURS = "the manager, in batches"
_FIVE = f"transactions of {TOGETHER}"
_ALONE = "a write, nothing else in flight"
_FIVE_ALONE = f"a transaction of {TOGETHER}, nothing else in flight"
_STATUS, _TOTAL = IndexField("status", "text"), IndexField("total", "number")
_INDEXED = {
    "  with an index on what stays": replace(LAMPS, name="lamps-total", indexes=(IndexDeclaration((_TOTAL,)),)),
    "  with an index on the status": replace(LAMPS, name="lamps-status", indexes=(IndexDeclaration((_STATUS, _TOTAL)),)),
    "  with three indexes on the status": replace(
        LAMPS,
        name="lamps-three",
        indexes=(
            IndexDeclaration((_STATUS,)),
            IndexDeclaration((_STATUS, _TOTAL)),
            IndexDeclaration((_STATUS, IndexField("created_at", "time"))),
        ),
    ),
}
"""The same in namespaces with indexes: what a write pays for them."""


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
        fired = [Asked(LAMPS.name, f"together-{self._size}-{number}-{part}", Transition(event)) for part in range(self._size)]
        await self._manager.transact(USER, fired)


class _Bench:
    """Both sides of the race on one server."""

    def __init__(self, postgres: EmbeddedPostgres, there: Managed, one_by_one: dict[str, OneByOne]) -> None:
        self._postgres = psutil.Process(postgres.process.pid)
        self.batched = Batched(there.manager, LAMPS.name)
        self.indexed = {name: Batched(there.manager, declared.name) for name, declared in _INDEXED.items()}
        self.one_by_one = one_by_one
        self.together = _Together(there.manager, TOGETHER)

    async def round(self, side: Side, seconds: float, in_flight: int = IN_FLIGHT) -> Round:
        """Write without a pause."""
        return await one_round(side, seconds, self._postgres, in_flight)


@contextlib.asynccontextmanager
async def _opened(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> AsyncIterator[_Bench]:
    await Migrator(postgres.url, "state", SPEC.migrations).upgrade()
    async with contextlib.AsyncExitStack() as stack:
        database = await stack.enter_async_context(DatabaseManager.open(postgres.url, service="state"))
        redis = await stack.enter_async_context(RedisManager.open(valkey.url))
        namespaces = {declared.name: declared for declared in (LAMPS, *_INDEXED.values())}
        there = await stack.enter_async_context(managed(PostgresStorage(database), redis, namespaces))
        sides = {}
        for size in CONNECTIONS:
            opened = await stack.enter_async_context(DatabaseManager.open(postgres.url, service="state", pool_size=size))
            own = PostgresStateStore(opened, PostgresIdempotencyLedger(opened))
            sides[f"one by one, {size} connections"] = OneByOne(f"single-{size}", own, there.relay)
        parts = [f"together-{TOGETHER}-{number}-{part}" for number in range(IN_FLIGHT) for part in range(TOGETHER)]
        names = ("batched", *(f"single-{size}" for size in CONNECTIONS))
        objects = [(LAMPS.name, f"{name}-{number}") for name in names for number in range(IN_FLIGHT)]
        objects += [(LAMPS.name, key) for key in parts]
        objects += [(one.name, f"batched-{number}") for one in _INDEXED.values() for number in range(IN_FLIGHT)]
        await fill(there.manager, objects)
        yield _Bench(postgres, there, sides)


_Found = dict[str, list[Round]]


async def _measure(rounds: int, seconds: float, sustained_s: int) -> tuple[_Found, _Found, list[Round]]:
    async with embedded(EmbeddedPostgres) as postgres, embedded(EmbeddedValkey) as valkey, _opened(postgres, valkey) as bench:
        sides: dict[str, Side] = {_OURS: bench.batched, **bench.indexed, **bench.one_by_one, _FIVE: bench.together}
        found: dict[str, list[Round]] = {name: [] for name in sides}
        for number in range(-1, rounds):  # the first is for warming up
            for name, side in sides.items() if number % 2 else reversed(sides.items()):
                one = await bench.round(side, lasting(number, seconds))
                if number >= 0:
                    found[name].append(one)
        alone: _Found = {_ALONE: [], _FIVE_ALONE: []}
        for number in range(-1, rounds):
            pairs: list[tuple[str, Side]] = [(_ALONE, bench.batched), (_FIVE_ALONE, bench.together)]
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
    first, last = (median(one.client_us + one.server_us for one in some) for some in edges.values())
    best = max(
        (name for name in found if name.startswith("one by one")), key=lambda name: median(one.rate for one in found[name])
    )
    ratio = median(ours.rate / theirs.rate for ours, theirs in zip(found[_OURS], found[best], strict=True))
    costs = [one.rate / five.rate for one, five in zip(alone[_ALONE], alone[_FIVE_ALONE], strict=True)]
    report.targets += [
        Target(f"a transaction of {TOGETHER} against one write, nothing else in flight", median(costs), 2.0),
        Target(f"writes/s against {best}", ratio, 2.0, at_least=True),
        Target(f"for a second of CPU, the last {_EDGE_S} of {sustained_s} s against the first", first / last, 0.9, at_least=True),
        Target("client CPU", median(one.client_us for one in found[_OURS]), 50.0, unit="us"),
    ]
    report.raw = {name: [one._asdict() for one in some] for name, some in (found | alone | {"sustained": sustained}).items()}
    report.notes.append(f"medians of {rounds} alternating rounds of {seconds:g} s; of the sustained run by the second")
    return report
