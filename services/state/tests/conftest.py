"""The stores under test, and managers on them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
import pytest_asyncio
from stylobate.clients.bans import BanList
from stylobate.database import MigrationSet
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.declarations.model import BeforeHook
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.identity import Principal
from stylobate.identity.resources import Granted
from stylobate.outbox import Event
from stylobate.outbox.memory import MemoryEventLog
from stylobate.testing import FakeClock, sequence_ids
from stylobate.testing.fixtures import DatabaseFor
from stylobate_state.settings import StateSettings
from stylobate_state.state_manager import StateManager
from stylobate_state.state_writer import Environment
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.memory_ephemeral import MemoryEphemeralStore
from stylobate_state.store.port import StateStore
from stylobate_state.store.postgres import PostgresStateStore
from stylobate_state.store.redis import RedisStateStore
from stylobate_state.watch.feed import Feed
from stylobate_state.watch.watch_manager import WatchEnvironment, WatchManager

from .samples import NOTES, ORDERS

MIGRATION_SETS = (
    MigrationSet.of("outbox", "stylobate.outbox"),
    MigrationSet.of("idempotency", "stylobate.idempotency"),
    MigrationSet.of("state", "stylobate_state.store"),
)
OpenStore = Callable[[], Awaitable[StateStore]]
"""Opens the store; called again, another one on the same data, as in another process."""


@pytest.fixture
def clock() -> FakeClock:
    """Give a clock that stands."""
    return FakeClock()


@pytest.fixture(params=["memory", "postgres"])
def database_or_none(request: pytest.FixtureRequest) -> DatabaseFor | None:
    """Give what opens a database, for the adapter that needs one."""
    return request.getfixturevalue("database_for") if request.param == "postgres" else None


@pytest.fixture(params=["memory", "postgres"])
def open_store(request: pytest.FixtureRequest) -> OpenStore:
    """Give each adapter in turn."""
    if request.param == "memory":
        memory = MemoryStateStore(FakeClock())

        async def the_same() -> StateStore:
            return memory

        return the_same
    database_for: DatabaseFor = request.getfixturevalue("database_for")

    async def another() -> StateStore:
        database = await database_for("state", *MIGRATION_SETS)
        return PostgresStateStore(database, PostgresIdempotencyLedger(database))

    return another


@pytest_asyncio.fixture
async def store(open_store: OpenStore) -> StateStore:
    """Give one store of each adapter in turn."""
    return await open_store()


@pytest.fixture(params=["memory", "postgres", "ephemeral memory", "valkey"])
def open_any_store(request: pytest.FixtureRequest) -> OpenStore:
    """Give each adapter in turn, those of the ephemeral namespace ``orders`` too."""
    ttl = timedelta(minutes=5)
    of_server = {"postgres": "database_for", "valkey": "redis"}
    server = request.getfixturevalue(of_server[request.param]) if request.param in of_server else None

    async def another() -> StateStore:
        match request.param:
            case "memory":
                return MemoryStateStore(FakeClock())
            case "ephemeral memory":
                return MemoryEphemeralStore(FakeClock(), ttl)
            case "valkey":
                return RedisStateStore(server, "orders", ttl)
        database = await server("state", *MIGRATION_SETS)
        return PostgresStateStore(database, PostgresIdempotencyLedger(database))

    return another


@pytest_asyncio.fixture
async def any_store(open_any_store: OpenStore) -> StateStore:
    """Give one store of each adapter in turn."""
    return await open_any_store()


@dataclass
class Grants:
    """Permissions by subject, in the place of auth."""

    by_subject: dict[str, set[str]] = field(default_factory=dict)
    on: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """Resources by subject and permission."""

    async def allowed(self, principal: Principal, permission: str, resource: str = "") -> bool:
        """Return whether it was granted."""
        if permission in self.by_subject.get(principal.subject, ()):
            return True
        return bool(resource) and (await self.granted(principal, permission)).covers(resource)

    async def granted(self, principal: Principal, permission: str, under: str = "") -> Granted:
        """Return on what it was."""
        return Granted(frozenset(self.on.get((principal.subject, permission), ())))


@dataclass
class Hooks:
    """Before-hooks in the place of the actions service: ``answer`` decides, ``asked`` remembers."""

    answer: Callable[[BeforeHook, Event], Awaitable[bytes]]
    asked: list[tuple[BeforeHook, Event]] = field(default_factory=list)

    async def ask(self, hook: BeforeHook, event: Event, hook_depth: int) -> bytes:
        """Remember and decide."""
        self.asked.append((hook, event))
        return await self.answer(hook, event)


async def _agree(_hook: BeforeHook, _event: Event) -> bytes:
    return b""


@pytest.fixture
def grants() -> Grants:
    """Give permissions that a test fills."""
    return Grants()


@pytest.fixture
def hooks() -> Hooks:
    """Give hooks that agree, until a test says otherwise."""
    return Hooks(_agree)


@pytest.fixture
def commits() -> list[None]:
    """Give what the manager's ``committed`` fills: one entry per batch."""
    return []


@pytest.fixture
def log(clock: FakeClock) -> MemoryEventLog:
    """Give the log that the store behind the manager writes to."""
    return MemoryEventLog("state", clock)


@pytest.fixture
def memory(clock: FakeClock, log: MemoryEventLog) -> MemoryStateStore:
    """Give the store behind the manager."""
    return MemoryStateStore(clock, log)


@pytest.fixture
def environment(memory: MemoryStateStore, grants: Grants, hooks: Hooks, commits: list[None], clock: FakeClock) -> Environment:
    """Give a manager's environment in memory; pauses between tries take no time."""

    async def no_time(_seconds: float) -> None: ...

    return Environment(
        store=memory,
        access=AccessEvaluator(grants),
        hooks=hooks,
        committed=lambda _namespace: commits.append(None),
        clock=clock,
        new_id=sequence_ids(),
        pause=no_time,
    )


@pytest_asyncio.fixture
async def manager(environment: Environment) -> AsyncIterator[StateManager]:
    """Give a manager of the namespaces ``orders`` and ``notes``."""
    declarations = {"orders": ORDERS, "notes": NOTES}
    async with StateManager.open(declarations, environment, max_data_bytes=10_000) as manager:
        yield manager


@pytest_asyncio.fixture
async def watches(manager: StateManager, environment: Environment, log: MemoryEventLog) -> AsyncIterator[WatchManager]:
    """Give the watches of the same namespaces."""
    watching = WatchEnvironment(
        log, Feed(log), environment.store, environment.access, BanList(), lambda _principal: False, lambda: 0.0
    )
    async with WatchManager.open(manager.namespaces, watching, StateSettings()) as found:
        yield found
