"""The stores under test, and managers on them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from stylobate.clients.bans import BanList
from stylobate.database import DatabaseManager, MigrationSet
from stylobate.database.mongodb import MongoManager
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.declarations.model import BeforeHook
from stylobate.idempotency.mongodb import MongoIdempotencyLedger
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.identity import Principal
from stylobate.identity.resources import Granted
from stylobate.outbox import Event
from stylobate.outbox.memory import MemoryEventLog
from stylobate.outbox.mongodb import MongoEventLog, MongoNumbering
from stylobate.outbox.postgres import PostgresEventLog, PostgresNumbering
from stylobate.testing import FakeClock, sequence_ids
from stylobate_state.settings import StateSettings
from stylobate_state.state_manager import StateManager
from stylobate_state.state_writer import Environment
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.memory_ephemeral import MemoryEphemeralStore
from stylobate_state.store.mongodb import (
    MongoForgettingStore,
    MongoLoadStore,
    MongoPlaceStore,
    MongoProjectionStore,
    MongoResealStore,
    MongoStateStore,
    MongoTimerStore,
)
from stylobate_state.store.port import StateStore
from stylobate_state.store.postgres import PostgresStateStore
from stylobate_state.store.postgres_forgetting import PostgresForgettingStore
from stylobate_state.store.postgres_loads import PostgresLoadStore
from stylobate_state.store.postgres_places import PostgresPlaceStore
from stylobate_state.store.postgres_projections import PostgresProjectionStore
from stylobate_state.store.postgres_resealing import PostgresResealStore
from stylobate_state.store.postgres_timers import PostgresTimerStore
from stylobate_state.store.redis import RedisStateStore
from stylobate_state.watch.feed import Feed
from stylobate_state.watch.watch_manager import WatchEnvironment, WatchManager

from .samples import NOTES, ORDERS

MIGRATION_SETS = (
    MigrationSet.of("outbox", "stylobate.outbox"),
    MigrationSet.of("idempotency", "stylobate.idempotency"),
    MigrationSet.of("state", "stylobate_state.store"),
)
SERVERS = ["postgres", "mongodb"]
STORES = ["memory", *SERVERS]
OpenStore = Callable[[], Awaitable[StateStore]]
"""Opens the store; called again, another one on the same data, as in another process."""


@dataclass
class Kept:
    """The adapters of one kind on one database."""

    database: Any
    ledger: Any
    store: Any
    timers: Any
    projections: Any
    forgetting: Any
    texts: Any
    places: Any
    loads: Any
    log: Any
    numbering: Any

    async def events(self, *, order: str = "subject") -> list[dict[str, Any]]:
        """Return what the log keeps, as it is stored: ``stream``, ``subject``, ``version``, ``actor``, ``data``, ``aside``."""
        names = ("tenant", "stream", "subject", "version", "actor", "data", "aside", "number", "partition")
        if isinstance(self.database, DatabaseManager):
            columns = ", ".join(f"{name}::text" if name in {"data", "aside"} else name for name in names)
            rows = [dict(row) for row in await self.database.fetch(f"select {columns} from outbox_event")]
        else:
            rows = [{name: row.get(name) for name in names} for row in await self.database.find("outbox_event", {})]
        return sorted(rows, key=lambda row: (row["tenant"], row[order], row["version"]))

    async def count(self, of: str) -> int:
        """Return how many rows a table, or documents a collection has."""
        if isinstance(self.database, DatabaseManager):
            return int(await self.database.fetchval(f"select count(*) from {of}"))
        return int(await self.database.count(of, {}))


OpenKept = Callable[..., Awaitable[Kept]]
"""Opens the adapters of a kind on the database of the test; called again, others on the same one, as in another process."""


def opening(request: pytest.FixtureRequest, kind: str) -> OpenKept:
    """Return what opens the adapters of a kind: ``postgres``, ``mongodb``."""
    database_for = request.getfixturevalue({"postgres": "database_for", "mongodb": "mongo_for"}[kind])

    async def open_them(**options: Any) -> Kept:
        return kept(await database_for("state", *MIGRATION_SETS, **options))

    return open_them


def kept(database: DatabaseManager | MongoManager) -> Kept:
    """Return the adapters on a database."""
    if isinstance(database, DatabaseManager):
        ledger = PostgresIdempotencyLedger(database)
        store = PostgresStateStore(database, ledger)
        return Kept(
            database,
            ledger,
            store,
            PostgresTimerStore(database),
            PostgresProjectionStore(database, store),
            PostgresForgettingStore(database),
            PostgresResealStore(database),
            PostgresPlaceStore(database),
            PostgresLoadStore(database),
            PostgresEventLog(database, "state"),
            PostgresNumbering(database, "state"),
        )
    answers = MongoIdempotencyLedger(database)
    states = MongoStateStore(database, answers)
    return Kept(
        database,
        answers,
        states,
        MongoTimerStore(database),
        MongoProjectionStore(database, states),
        MongoForgettingStore(database),
        MongoResealStore(database),
        MongoPlaceStore(database),
        MongoLoadStore(database),
        MongoEventLog(database, "state"),
        MongoNumbering(database, "state"),
    )


@pytest.fixture
def clock() -> FakeClock:
    """Give a clock that stands."""
    return FakeClock()


@pytest.fixture(params=STORES)
def open_kept_or_none(request: pytest.FixtureRequest) -> OpenKept | None:
    """Give what opens the adapters of each kind in turn; None for memory."""
    return None if request.param == "memory" else opening(request, request.param)


@pytest.fixture(params=SERVERS)
def open_kept(request: pytest.FixtureRequest) -> OpenKept:
    """Give what opens the adapters of each kind of server in turn."""
    return opening(request, request.param)


@pytest.fixture
def open_store(open_kept_or_none: OpenKept | None) -> OpenStore:
    """Give each adapter in turn."""
    memory = MemoryStateStore(FakeClock())

    async def another() -> StateStore:
        return memory if open_kept_or_none is None else (await open_kept_or_none()).store

    return another


@pytest_asyncio.fixture
async def store(open_store: OpenStore) -> StateStore:
    """Give one store of each adapter in turn."""
    return await open_store()


@pytest.fixture(params=[*STORES, "ephemeral memory", "valkey", "valkey cluster"])
def open_any_store(request: pytest.FixtureRequest) -> OpenStore:
    """Give each adapter in turn, those of the ephemeral namespace ``orders`` too."""
    ttl = timedelta(minutes=5)
    of_valkey = {"valkey": "redis", "valkey cluster": "redis_cluster"}
    redis = request.getfixturevalue(of_valkey[request.param]) if request.param in of_valkey else None
    open_kept = opening(request, request.param) if request.param in SERVERS else None

    async def another() -> StateStore:
        match request.param:
            case "memory":
                return MemoryStateStore(FakeClock())
            case "ephemeral memory":
                return MemoryEphemeralStore(FakeClock(), ttl)
            case "valkey" | "valkey cluster":
                return RedisStateStore(redis, "orders", ttl)
        assert open_kept is not None
        return (await open_kept()).store

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
