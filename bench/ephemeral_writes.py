"""P17: transitions in an ephemeral namespace beside the same in a durable one, through one manager, in the same rounds."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter, process_time
from typing import NamedTuple

import uvloop
from stylobate.database import DatabaseManager, Migrator
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.declarations.model import AccessRule, NamespaceAccess, NamespaceDeclaration, TransitionDeclaration
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
from stylobate_state.operation import Put, Transition
from stylobate_state.settings import StateSettings
from stylobate_state.spec import SPEC
from stylobate_state.state_manager import StateManager
from stylobate_state.state_writer import Environment
from stylobate_state.store.postgres import PostgresStateStore
from stylobate_state.store.redis import RedisStateStore
from stylobate_state.store.router import StoreRouter

from bench.callers import USER
from bench.processes import lasting
from bench.report import Report, Target
from bench.servers import embedded

IN_FLIGHT = 64
_TTL = timedelta(minutes=30)
_ANYBODY = AccessRule(("authenticated",))
_DATA = b'{"items":[{"sku":"a-1","quantity":2}],"total":2000}'
_DURABLE = NamespaceDeclaration(
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
_EPHEMERAL = replace(_DURABLE, name="sparks", ttl=_TTL)
_SIDES = {"durable": _DURABLE.name, "ephemeral": _EPHEMERAL.name}


class _Round(NamedTuple):
    rate: float
    """Transitions a second."""
    client_us: float
    """CPU of this process for each, the relay included where there is one."""


class _Nobody:
    """Grants no permission: none is asked for."""

    async def allowed(self, principal: Principal, permission: str, resource: str = "") -> bool:  # noqa: ARG002
        """Say no."""
        return False

    async def granted(self, principal: Principal, permission: str, under: str = "") -> Granted:  # noqa: ARG002
        """Nothing, to nobody."""
        return NOTHING


class _Bench:
    def __init__(self, manager: StateManager) -> None:
        self._manager = manager
        self._is_on = {namespace: [False] * IN_FLIGHT for namespace in _SIDES.values()}

    async def fill(self) -> None:
        """Make the objects."""
        for namespace in _SIDES.values():
            for number in range(IN_FLIGHT):
                await self._manager.change(USER, namespace, str(number), Put(_DATA), expected=0)

    async def round(self, namespace: str, seconds: float, in_flight: int) -> _Round:
        """Fire events without a pause, each caller at an object of its own."""
        begun, cpu, done, is_on = perf_counter(), process_time(), 0, self._is_on[namespace]

        async def keep_on(number: int) -> None:
            nonlocal done
            while perf_counter() < begun + seconds:
                event = "switch_off" if is_on[number] else "switch_on"
                is_on[number] = not is_on[number]
                await self._manager.change(USER, namespace, str(number), Transition(event), expected=None)
                done += 1

        await asyncio.gather(*map(keep_on, range(in_flight)))
        return _Round(done / (perf_counter() - begun), (process_time() - cpu) / done * 1e6)


@contextlib.asynccontextmanager
async def _opened(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> AsyncIterator[_Bench]:
    await Migrator(postgres.url, "state", SPEC.migrations).upgrade()
    settings = StateSettings()
    async with contextlib.AsyncExitStack() as stack:
        database = await stack.enter_async_context(DatabaseManager.open(postgres.url, service="state"))
        redis = await stack.enter_async_context(RedisManager.open(valkey.url))
        leases = LeaseManager(PostgresLeaseStore(database), "bench")
        relay = Relay(PostgresEventLog(database, "state"), PostgresNumbering(database, "state"), leases, redis)
        durable = PostgresStateStore(database, PostgresIdempotencyLedger(database))
        environment = Environment(
            store=StoreRouter(durable, {_EPHEMERAL.name: RedisStateStore(redis, _EPHEMERAL.name, _TTL)}),
            access=AccessEvaluator(_Nobody()),
            hooks=BeforeHooks(LocalChannel(LocalServer(Servicers())), settings.hook_timeout),  # none is declared
            committed=lambda _namespace: relay.wake(),
            clock=lambda: datetime.now(UTC),
            new_id=new_id,
        )
        declared = {one.name: one for one in (_DURABLE, _EPHEMERAL)}
        opening = StateManager.open(declared, environment, max_data_bytes=settings.max_data_bytes)
        bench = _Bench(await stack.enter_async_context(opening))
        await bench.fill()
        task = asyncio.create_task(relay.run())
        stack.push_async_callback(end, [task])
        yield bench


async def _measure(rounds: int, seconds: float) -> dict[str, list[_Round]]:
    found: dict[str, list[_Round]] = {}
    async with embedded(EmbeddedPostgres) as postgres, embedded(EmbeddedValkey) as valkey, _opened(postgres, valkey) as bench:
        for number in range(-1, rounds):  # the first is for warming up
            for name, namespace in _SIDES.items() if number % 2 else reversed(_SIDES.items()):
                for in_flight, told in ((IN_FLIGHT, name), (1, f"{name}, nothing else in flight")):
                    one = await bench.round(namespace, lasting(number, seconds), in_flight)
                    if number >= 0:
                        found.setdefault(told, []).append(one)
    return found


def measure(rounds: int, seconds: float) -> Report:
    """P17."""
    plain_logs()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(_measure(rounds, seconds))
    report = Report(
        "P17", f"ephemeral and durable transitions, {IN_FLIGHT} in flight", ("namespace", "events/s", "client CPU us")
    )
    report.rows += [(name, *(median(column) for column in zip(*found[name], strict=True))) for name in sorted(found)]
    ratio = median(fast.rate / slow.rate for fast, slow in zip(found["ephemeral"], found["durable"], strict=True))
    report.targets.append(Target("ephemeral events/s against durable ones", ratio, 3.0, at_least=True))
    report.raw = {name: [one._asdict() for one in some] for name, some in found.items()}
    report.notes.append(f"medians of {rounds} alternating rounds of {seconds:g} s")
    return report
