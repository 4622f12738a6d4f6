"""Who writes state objects in P4, P17 and P25: a StateManager that collects, and single writes; and what a round of either is."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime
from time import perf_counter, process_time
from types import MappingProxyType
from typing import NamedTuple, Protocol

import psutil
from stylobate.app.storage import Storage
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.declarations.model import AccessRule, NamespaceAccess, NamespaceDeclaration, TransitionDeclaration
from stylobate.ids import new_id
from stylobate.leases import LeaseManager
from stylobate.outbox import Relay
from stylobate.redis import RedisManager
from stylobate.rpc import LocalChannel, LocalServer, Servicers
from stylobate.stopping import end
from stylobate_state.adapters import adapters_of
from stylobate_state.hooks import BeforeHooks
from stylobate_state.index import all_indexes
from stylobate_state.model import Change, StateKey, Write, Written
from stylobate_state.operation import Put, Transition
from stylobate_state.settings import StateSettings
from stylobate_state.state_manager import StateManager
from stylobate_state.state_writer import Environment
from stylobate_state.store.port import StateStore
from stylobate_state.store.router import StoreRouter

from bench.callers import USER, Nobody
from bench.processes import cpu_seconds

IN_FLIGHT = 64
DATA = b'{"items":[{"sku":"a-1","quantity":2}],"total":2000}'
_ANYBODY = AccessRule(("authenticated",))
LAMPS = NamespaceDeclaration(
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


class Round(NamedTuple):
    """What a round found."""

    rate: float
    """Writes a second."""
    client_us: float
    """CPU of this process per write, the relay included."""
    server_us: float
    """CPU of the database's server per write."""


class Side(Protocol):
    """Whoever writes."""

    async def write(self, number: int) -> None:
        """Write once, for the caller of this number."""


class Batched:
    """Objects that the manager switches on and off."""

    def __init__(self, manager: StateManager, namespace: str, name: str = "batched") -> None:
        self._manager = manager
        self._namespace = namespace
        self._name = name
        self._is_on = [False] * IN_FLIGHT

    async def write(self, number: int) -> None:
        """Fire the event that the object is due for."""
        event = "switch_off" if self._is_on[number] else "switch_on"
        self._is_on[number] = not self._is_on[number]
        await self._manager.change(USER, self._namespace, f"{self._name}-{number}", Transition(event), expected=None)


class OneByOne:
    """Objects whose writes go straight to the server, each alone."""

    def __init__(self, name: str, store: StateStore, relay: Relay) -> None:
        self._store = store
        self._relay = relay
        self._keys = [StateKey(USER.tenant, LAMPS.name, f"{name}-{number}") for number in range(IN_FLIGHT)]
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
            data=DATA,
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


async def fill(manager: StateManager, objects: Iterable[tuple[str, str]]) -> None:
    """Make objects, each of a namespace and a key, all at once."""
    await asyncio.gather(*(manager.change(USER, namespace, key, Put(DATA), expected=0) for namespace, key in objects))


async def one_round(side: Side, seconds: float, server: psutil.Process, in_flight: int = IN_FLIGHT) -> Round:
    """Write without a pause, each caller at objects of its own."""
    begun, cpu, server_s = perf_counter(), process_time(), _server_s(server)
    done = 0

    async def keep_on(number: int) -> None:
        nonlocal done
        while True:  # once at least, however busy the machine is
            await side.write(number)
            done += 1
            if perf_counter() >= begun + seconds:
                return

    await asyncio.gather(*map(keep_on, range(in_flight)))
    client_us = (process_time() - cpu) / done * 1e6
    return Round(done / (perf_counter() - begun), client_us, (_server_s(server) - server_s) / done * 1e6)


def _server_s(server: psutil.Process) -> float:
    """Return the CPU time of all of the server's processes, ended ones included."""
    times = server.cpu_times()
    spent = float(times.children_user + times.children_system)
    for process in (server, *server.children()):
        with contextlib.suppress(psutil.NoSuchProcess):
            spent += cpu_seconds(process)
    return spent


class Managed(NamedTuple):
    """A manager on a database, and the relay that numbers its events all the while."""

    manager: StateManager
    relay: Relay


@contextlib.asynccontextmanager
async def managed(
    storage: Storage,
    redis: RedisManager,
    namespaces: Mapping[str, NamespaceDeclaration],
    ephemeral: Mapping[str, StateStore] = MappingProxyType({}),
) -> AsyncIterator[Managed]:
    """Open a manager of these namespaces on a database that is migrated, as the service does.

    :param ephemeral: the stores of those that are not in the database.
    """
    settings, adapters = StateSettings(), adapters_of(storage)
    relay = Relay(adapters.log, adapters.numbering, LeaseManager(adapters.leases, "bench"), redis)
    await adapters.store.declare(all_indexes(namespaces))
    environment = Environment(
        store=StoreRouter(adapters.store, ephemeral) if ephemeral else adapters.store,
        access=AccessEvaluator(Nobody()),
        hooks=BeforeHooks(LocalChannel(LocalServer(Servicers())), settings.hook_timeout),  # none is declared
        committed=lambda _namespace: relay.wake(),
        clock=lambda: datetime.now(UTC),
        new_id=new_id,
    )
    async with StateManager.open(namespaces, environment, max_data_bytes=settings.max_data_bytes) as manager:
        task = asyncio.create_task(relay.run())
        try:
            yield Managed(manager, relay)
        finally:
            await end([task])
