"""The state service, put together: the only place that names an adapter."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from stylobate.api.state.v1.owned_state_service_pb2_grpc import add_OwnedStateServiceServicer_to_server
from stylobate.api.state.v1.projection_service_pb2_grpc import add_ProjectionServiceServicer_to_server
from stylobate.api.state.v1.state_keeping_service_pb2_grpc import add_StateKeepingServiceServicer_to_server
from stylobate.api.state.v1.state_key_service_pb2_grpc import add_StateKeyServiceServicer_to_server
from stylobate.api.state.v1.state_service_pb2_grpc import add_StateServiceServicer_to_server
from stylobate.app.manager import AppManager
from stylobate.declarations import Declarations
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.idempotency import Idempotency
from stylobate.idempotency.memory import MemoryIdempotencyLedger
from stylobate.ids import new_id

from stylobate_state.history_forgetter import HistoryForgetter
from stylobate_state.hooks import BeforeHooks
from stylobate_state.index import all_indexes
from stylobate_state.owned_servicer import OwnedStateServicer
from stylobate_state.owned_states import OwnedStates
from stylobate_state.owner_forgetter import OwnerForgetter
from stylobate_state.places import check_main, logs_of_projections, placed
from stylobate_state.projection.manager import ProjectionManager
from stylobate_state.projection.servicer import ProjectionServicer
from stylobate_state.reencryptor import Reencryptor
from stylobate_state.room import Room
from stylobate_state.sealing_keys import keep_sealed, open_sealing, sealing_in_memory
from stylobate_state.servicer import StateKeepingServicer, StateServicer
from stylobate_state.settings import StateSettings
from stylobate_state.state_cache import StateCache
from stylobate_state.state_key_servicer import StateKeyServicer
from stylobate_state.state_manager import StateManager
from stylobate_state.state_mover import StateMover
from stylobate_state.state_writer import Environment
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.memory_ephemeral import MemoryEphemeralStore
from stylobate_state.store.memory_forgetting import MemoryForgettingStore
from stylobate_state.store.memory_projections import MemoryProjectionStore
from stylobate_state.store.memory_timers import MemoryTimerStore
from stylobate_state.store.port import StateStore
from stylobate_state.store.projections import ProjectionStore
from stylobate_state.store.redis import RedisAnswers, RedisStateStore
from stylobate_state.store.router import StoreRouter
from stylobate_state.timer_runner import TimerRunner
from stylobate_state.upgrades import Upgrades, asking
from stylobate_state.watch.feed import Feed
from stylobate_state.watch.watch_manager import WatchEnvironment, WatchManager

if TYPE_CHECKING:
    from stylobate.app.memory_app import MemoryApp


async def build(app: AppManager, settings: StateSettings) -> None:
    """Enter the parts in order. Waits for the database, for no other service and for no further database."""
    declared, indexes = app.declarations, all_indexes(app.declarations.namespaces)
    sources = {one.name: one.sources for module in declared.modules for one in module.projections}
    placed_in = placed(settings, declared.namespaces, sources)
    main = Room(app, await app.storage())
    await check_main(main.places, settings.places, declared.namespaces)
    further: list[Room] = []
    for name, apart_here in placed_in.items():
        further.append(await Room.open_apart(app, (main, *further), name, apart=apart_here, indexes=indexes))
    rooms = {namespace: room for room in further for namespace in room.apart}
    ttls = _ttls(declared)
    cache = None
    if settings.cache_bytes:
        cache = StateCache(main.feed, {name: room.feed for name, room in rooms.items()}, max_bytes=settings.cache_bytes)
        app.check("cache", cache.health)
        app.task("cache", cache.run)
    stores: dict[str, StateStore] = {name: RedisStateStore(app.redis, name, ttl) for name, ttl in ttls.items()}
    sealing = await open_sealing(app, settings, main.data_keys, main.owner_keys)
    environment = Environment(
        cache=cache,
        store=StoreRouter(main.store, stores | {name: room.store for name, room in rooms.items()}),
        access=AccessEvaluator(app.access),
        hooks=BeforeHooks(app.channel("actions"), settings.hook_timeout),
        upgrades=Upgrades(asking(app.channel("actions"), settings.upgrade_timeout), sealing),
        committed=lambda namespace: rooms.get(namespace, main).relay.wake(),
        clock=lambda: datetime.now(UTC),
        new_id=new_id,
    )
    manager = await app.enter(_manager(declared, environment, settings), name="state")
    watching = WatchEnvironment(
        main.log,
        main.feed,
        environment.store,
        environment.access,
        app.bans,
        app.verifier.is_revoked,
        upgrades=environment.upgrades,
        apart={name: (room.log, room.feed) for name, room in rooms.items()},
    )
    watches = await app.enter(WatchManager.open(manager.namespaces, watching, settings), name="watches")
    app.verifier.on_revocation(watches.doubt)
    app.verifier.on_change(watches.doubt)
    apart = {name: Idempotency(RedisAnswers(app.redis, name), lambda: datetime.now(UTC)) for name in ttls}
    apart |= {name: room.idempotency for name, room in rooms.items()}
    keep_sealed(app, settings, sealing, [main.idempotency, *apart.values()])
    app.servicer(add_StateServiceServicer_to_server, StateServicer(manager, watches, main.idempotency, apart))
    _serve_owned(app, manager, environment)
    projections = {name: room.projections for name, room in rooms.items()}
    _serve_projections(
        app, main.projections, environment, manager, apart=projections, logs=logs_of_projections(sources, settings.places)
    )
    forgetters: dict[str, HistoryForgetter] = {}
    for room in (main, *further):
        await room.relay_events()
        if room.name and not room.apart:
            continue  # nothing stands there now
        here = {name: one for name, one in manager.namespaces.items() if rooms.get(name, main) is room}
        forgetter = room.forgetter(here, settings, ttls)
        forgetters |= dict.fromkeys(here, forgetter)
        await room.start(here, [index for index in indexes if index.namespace in here], manager, forgetter)
    homes = {home.name: home for home in (room.home() for room in (main, *further))}
    mover = StateMover(manager.namespaces, indexes=indexes, places=settings.places, homes=homes, new_id=new_id, ephemeral=ttls)
    texts = {name: room.texts for name, room in rooms.items()}
    reencryptor = Reencryptor(manager.namespaces, environment.store, sealing, main.texts, apart=texts, ephemeral=ttls)
    app.servicer(add_StateKeyServiceServicer_to_server, StateKeyServicer(reencryptor))
    owners = OwnerForgetter(manager.namespaces, environment, manager.writer, forgetters)
    app.servicer(add_StateKeepingServiceServicer_to_server, StateKeepingServicer(manager.keeper, forgetters, mover, owners))


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
        upgrades=Upgrades(asking(app.channel("actions"), settings.upgrade_timeout), sealing_in_memory()),
        committed=lambda _namespace: app.committed(),
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
    _serve_owned(app, manager, environment)
    _serve_projections(app, MemoryProjectionStore(store, app.clock), environment, manager)
    timers = TimerRunner(MemoryTimerStore(store), manager.namespaces, manager)

    forgetter = HistoryForgetter(MemoryForgettingStore(store), manager.namespaces, settings.history_grace)

    async def fire() -> timedelta | None:
        await forgetter.step()
        while (due := await timers.fire_due()).timers:
            pass
        return due.next_in

    app.fire_due = fire
    owners = OwnerForgetter(manager.namespaces, environment, manager.writer, dict.fromkeys(manager.namespaces, forgetter))
    app.forget_owner = owners.step


def _ttls(declared: Declarations) -> dict[str, timedelta]:
    """Return how long objects are kept in each ephemeral namespace."""
    return {name: namespace.ttl for name, namespace in declared.namespaces.items() if namespace.ttl is not None}


def _serve_owned(app: "AppManager | MemoryApp", states: StateManager, environment: Environment) -> None:
    app.servicer(add_OwnedStateServiceServicer_to_server, OwnedStateServicer(OwnedStates(states.namespaces, environment)))


def _serve_projections(
    app: "AppManager | MemoryApp",
    store: ProjectionStore,
    environment: Environment,
    states: StateManager,
    *,
    apart: Mapping[str, ProjectionStore] = MappingProxyType({}),
    logs: Mapping[str, str] = MappingProxyType({}),
) -> None:
    manager = ProjectionManager(
        store,
        states.namespaces,
        app.declarations.projections,
        apart=apart,
        committed=environment.committed,
        new_id=environment.new_id,
        sealing=environment.sealing,
    )
    app.servicer(add_ProjectionServiceServicer_to_server, ProjectionServicer(manager, logs))


def _manager(
    declared: Declarations, environment: Environment, settings: StateSettings
) -> AbstractAsyncContextManager[StateManager]:
    namespaces, channels = declared.namespaces, declared.channels
    users = {
        module.name: [other.name for other in declared.modules if module.name in other.dependencies]
        for module in declared.modules
    }
    return StateManager.open(namespaces, environment, max_data_bytes=settings.max_data_bytes, channels=channels, users=users)
