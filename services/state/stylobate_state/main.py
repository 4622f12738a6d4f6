"""The state service, put together: the only place that names an adapter."""

from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from stylobate.api.state.v1.projection_service_pb2_grpc import add_ProjectionServiceServicer_to_server
from stylobate.api.state.v1.state_keeping_service_pb2_grpc import add_StateKeepingServiceServicer_to_server
from stylobate.api.state.v1.state_service_pb2_grpc import add_StateServiceServicer_to_server
from stylobate.app.manager import AppManager
from stylobate.declarations import Declarations
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.idempotency import Idempotency
from stylobate.idempotency.memory import MemoryIdempotencyLedger
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.ids import new_id
from stylobate.leases import LeaseManager
from stylobate.leases.postgres import PostgresLeaseStore
from stylobate.outbox import Relay
from stylobate.outbox.postgres import PostgresEventLog, PostgresNumbering

from stylobate_state.history_forgetter import LEASE as FORGETTING
from stylobate_state.history_forgetter import HistoryForgetter
from stylobate_state.hooks import BeforeHooks
from stylobate_state.index import all_indexes
from stylobate_state.index_keeper import LEASE, IndexKeeper
from stylobate_state.projection.manager import ProjectionManager
from stylobate_state.projection.servicer import ProjectionServicer
from stylobate_state.servicer import StateKeepingServicer, StateServicer
from stylobate_state.settings import StateSettings
from stylobate_state.state_cache import StateCache
from stylobate_state.state_manager import StateManager
from stylobate_state.state_writer import Environment
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.memory_ephemeral import MemoryEphemeralStore
from stylobate_state.store.memory_forgetting import MemoryForgettingStore
from stylobate_state.store.memory_projections import MemoryProjectionStore
from stylobate_state.store.memory_timers import MemoryTimerStore
from stylobate_state.store.postgres import PostgresStateStore
from stylobate_state.store.postgres_forgetting import PostgresForgettingStore
from stylobate_state.store.postgres_projections import PostgresProjectionStore
from stylobate_state.store.postgres_timers import PostgresTimerStore
from stylobate_state.store.projections import ProjectionStore
from stylobate_state.store.redis import RedisAnswers, RedisStateStore
from stylobate_state.store.router import StoreRouter
from stylobate_state.timer_runner import TimerRunner
from stylobate_state.upgrades import Upgrades, asking
from stylobate_state.watch.feed import Feed
from stylobate_state.watch.watch_manager import WatchEnvironment, WatchManager

if TYPE_CHECKING:
    from stylobate.app.memory_app import MemoryApp

SOURCE = "state"


async def build(app: AppManager, settings: StateSettings) -> None:
    """Enter the parts in order. Waits for the database, for no other service."""
    database = await app.database()
    ledger = PostgresIdempotencyLedger(database)
    idempotency = Idempotency(ledger, lambda: datetime.now(UTC))
    log, leases = PostgresEventLog(database, SOURCE), LeaseManager(PostgresLeaseStore(database), app.node)
    feed = Feed(log)
    grown = app.event_log(log, feed.wake)
    relay = Relay(log, PostgresNumbering(database, SOURCE), leases, app.redis, on_numbered=grown, on_events=feed.offer)
    store = PostgresStateStore(database, ledger)
    ttls = _ttls(app.declarations)
    cache = StateCache(feed, max_bytes=settings.cache_bytes) if settings.cache_bytes else None
    if cache is not None:
        app.check("cache", cache.health)
        app.task("cache", cache.run)
    environment = Environment(
        cache=cache,
        store=StoreRouter(store, {name: RedisStateStore(app.redis, name, ttl) for name, ttl in ttls.items()}),
        access=AccessEvaluator(app.access),
        hooks=BeforeHooks(app.channel("actions"), settings.hook_timeout),
        upgrades=Upgrades(asking(app.channel("actions"), settings.upgrade_timeout)),
        committed=relay.wake,
        clock=lambda: datetime.now(UTC),
        new_id=new_id,
    )
    manager = await app.enter(_manager(app.declarations, environment, settings), name="state")
    watching = WatchEnvironment(
        log,
        feed,
        environment.store,
        environment.access,
        app.bans,
        app.verifier.is_revoked,
        upgrades=environment.upgrades,
    )
    watches = await app.enter(WatchManager.open(manager.namespaces, watching, settings), name="watches")
    app.verifier.on_revocation(watches.doubt)
    app.verifier.on_change(watches.doubt)
    apart = {name: Idempotency(RedisAnswers(app.redis, name), lambda: datetime.now(UTC)) for name in ttls}
    app.servicer(add_StateServiceServicer_to_server, StateServicer(manager, watches, idempotency, apart))
    _serve_projections(app, PostgresProjectionStore(database, store), environment, manager)
    app.task("watches", feed.run)
    forgetter = HistoryForgetter(PostgresForgettingStore(database), manager.namespaces, settings.history_grace, ttls)
    app.servicer(add_StateKeepingServiceServicer_to_server, StateKeepingServicer(manager.keeper, forgetter))
    app.check("relay", relay.health)
    app.task("relay", relay.run)
    keeper = await app.enter(IndexKeeper.open(store, all_indexes(app.declarations.namespaces)), name="indexes")
    app.task("indexes", keeper.declare)
    app.task("index_builder", partial(leases.run, LEASE, keeper.build))
    timers = TimerRunner(PostgresTimerStore(database), manager.namespaces, manager)
    app.check("timers", partial(timers.health, leases))
    app.task("timers", partial(timers.run, leases))
    if forgetter.rules:
        app.task("history", partial(leases.run, FORGETTING, forgetter.run))
    app.task("idempotency", idempotency.run)


async def build_in_memory(app: "MemoryApp") -> None:
    """Build the service for tests of modules: the same rules over a store in memory."""
    settings, ledger, feed = StateSettings(), MemoryIdempotencyLedger(), Feed(app.log)
    store = MemoryStateStore(app.clock, app.log, ledger)
    await store.declare(all_indexes(app.declarations.namespaces))
    ledgers = {name: MemoryIdempotencyLedger() for name in _ttls(app.declarations)}
    ephemeral = {name: MemoryEphemeralStore(app.clock, ttl, ledgers[name]) for name, ttl in _ttls(app.declarations).items()}
    environment = Environment(
        store=StoreRouter(store, ephemeral),
        access=AccessEvaluator(app.access),
        hooks=BeforeHooks(app.channel("actions"), settings.hook_timeout),
        upgrades=Upgrades(asking(app.channel("actions"), settings.upgrade_timeout)),
        committed=app.committed,
        clock=app.clock,
        new_id=new_id,
    )
    manager = await app.enter(_manager(app.declarations, environment, settings))
    watching = WatchEnvironment(
        app.log,
        feed,
        environment.store,
        environment.access,
        app.bans,
        lambda _principal: False,
        upgrades=environment.upgrades,
    )
    watches = await app.enter(WatchManager.open(manager.namespaces, watching, settings))
    app.on_events.append(feed.offer)
    apart = {name: Idempotency(one, app.clock) for name, one in ledgers.items()}
    app.servicer(add_StateServiceServicer_to_server, StateServicer(manager, watches, Idempotency(ledger, app.clock), apart))
    _serve_projections(app, MemoryProjectionStore(store, app.clock), environment, manager)
    timers = TimerRunner(MemoryTimerStore(store), manager.namespaces, manager)

    forgetter = HistoryForgetter(MemoryForgettingStore(store), manager.namespaces, settings.history_grace)

    async def fire() -> timedelta | None:
        await forgetter.step()
        while (due := await timers.fire_due()).timers:
            pass
        return due.next_in

    app.fire_due = fire


def _ttls(declared: Declarations) -> dict[str, timedelta]:
    """Return how long objects are kept in each ephemeral namespace."""
    return {name: namespace.ttl for name, namespace in declared.namespaces.items() if namespace.ttl is not None}


def _serve_projections(
    app: "AppManager | MemoryApp", store: ProjectionStore, environment: Environment, states: StateManager
) -> None:
    manager = ProjectionManager(
        store,
        states.namespaces,
        app.declarations.projections,
        committed=environment.committed,
        new_id=environment.new_id,
    )
    app.servicer(add_ProjectionServiceServicer_to_server, ProjectionServicer(manager))


def _manager(
    declared: Declarations, environment: Environment, settings: StateSettings
) -> AbstractAsyncContextManager[StateManager]:
    namespaces, channels = declared.namespaces, declared.channels
    users = {
        module.name: [other.name for other in declared.modules if module.name in other.dependencies]
        for module in declared.modules
    }
    return StateManager.open(namespaces, environment, max_data_bytes=settings.max_data_bytes, channels=channels, users=users)
