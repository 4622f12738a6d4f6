"""The actions service, put together: the only place that names an adapter."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stylobate.api.actions.v1.action_service_pb2_grpc import add_ActionServiceServicer_to_server
from stylobate.api.actions.v1.module_service_pb2_grpc import add_ModuleServiceServicer_to_server
from stylobate.api.actions.v1.user_data_service_pb2_grpc import add_UserDataServiceServicer_to_server
from stylobate.app.manager import AppManager
from stylobate.app.storage import MongoStorage, PostgresStorage, Storage
from stylobate.clients.limits import LimitsClient
from stylobate.clients.realtime import Publisher
from stylobate.config import Sources
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.declarations.model import ProjectionDeclaration
from stylobate.declarations.sources import packages_of
from stylobate.hooks import HooksManager, Patience
from stylobate.idempotency import LIFETIME, Keeping
from stylobate.ids import new_id
from stylobate.leases import LeaseManager
from stylobate.modules.context import Platform
from stylobate.modules.state import StateClient
from stylobate.modules.users import UsersClient

from stylobate_actions.action_discovery_manager import ActionDiscoveryManager
from stylobate_actions.action_manager import ActionManager
from stylobate_actions.audit import ActionTrail
from stylobate_actions.channel_fields import ChannelFields
from stylobate_actions.effects import effects_of
from stylobate_actions.hook_runner import HookRunner
from stylobate_actions.limits import ActionLimits
from stylobate_actions.module_databases import ModuleDatabases
from stylobate_actions.module_manager import ModuleManager
from stylobate_actions.projections.fold import Method
from stylobate_actions.projections.manager import Projections
from stylobate_actions.projections.memory import in_memory
from stylobate_actions.projections.projector import Projector
from stylobate_actions.rights import Rights
from stylobate_actions.runner import Runner
from stylobate_actions.runs import HOLD, Runs
from stylobate_actions.servicer import ActionServicer, ModuleServicer
from stylobate_actions.settings import ActionsSettings
from stylobate_actions.store.memory import MemoryRunLedger
from stylobate_actions.store.port import RunLedger
from stylobate_actions.store.postgres import PostgresRunLedger
from stylobate_actions.upgrade_runner import UpgradeRunner
from stylobate_actions.user_data import UserData
from stylobate_actions.user_data_servicer import UserDataServicer
from stylobate_actions.watchdog import LoopWatchdog

if TYPE_CHECKING:
    from stylobate.app.memory_app import MemoryApp
    from stylobate.app.memory_hooks import MemoryHooks

SERVICE = "actions"
_SLACK = timedelta(seconds=5)
"""The runner keeps to a hook's timeout; who delivers gets a little more and should never need it."""


@dataclass(frozen=True, slots=True)
class _Adapters:
    """What differs between a running platform and memory."""

    limits: ActionLimits | None
    audit: ActionTrail | None
    hooks: "HooksManager | MemoryHooks"
    runs: Runs
    sources: Sources
    packages: Mapping[Path, str]
    clock: Callable[[], datetime]
    tells_defects: bool = False


async def build(app: AppManager, settings: ActionsSettings) -> None:
    """Enter the parts in order. Waits for the database, for no other service."""
    storage = await app.storage()
    leases = LeaseManager(storage.leases(), app.node)
    hooks = HooksManager(
        app.redis,
        store=storage.hooks(),
        leases=leases,
        channel=app.channel,
        patience=Patience(outage_limit=settings.hook_outage_limit),
    )
    adapters = _Adapters(
        limits=ActionLimits(
            await app.enter(LimitsClient(app.channel("ratelimit"), on_unreachable=settings.limits_on_unreachable)),
            app.limit_rules,
        ),
        audit=ActionTrail(await app.audit_trail(storage.audit(), storage.audit_chain(app.name), leases)),
        hooks=hooks,
        runs=Runs(_ledger(storage), asyncio.get_running_loop(), new_id),
        sources=app.sources,
        packages=packages_of(settings.modules),
        clock=lambda: datetime.now(UTC),
        tells_defects=settings.is_development,
    )
    _keep_sealed(app, settings, adapters.runs)
    modules, runs = await _assemble(app, settings, adapters)
    projections = Projections([Projector(one, app.channel("state"), method) for one, method in _projected(modules, runs)], leases)
    app.check("projections", projections.health)
    app.task("projections", projections.run)
    app.check("hooks", hooks.health)
    app.task("hooks", hooks.run)
    app.task("runs", adapters.runs.run)
    app.task("runs_pruned", adapters.runs.prune)
    app.ready_when(hooks.ready)  # until then a hook could miss what happens


def _keep_sealed(app: AppManager, settings: ActionsSettings, runs: Runs) -> None:
    """Have answers kept so that only who sends the same call again gets to read them, where there is a key."""

    async def take(fresh: ActionsSettings) -> None:
        runs.keeping = Keeping.of(fresh.encryption_key, fresh.encryption_key_before, settings.encryption_key)

    app.follow("encryption_key", "encryption_key_before", take=take)
    runs.keeping = Keeping.of(settings.encryption_key, settings.encryption_key_before)


def _ledger(storage: Storage) -> RunLedger:
    match storage:
        case PostgresStorage():
            return PostgresRunLedger(storage.database, HOLD, LIFETIME)
        case MongoStorage():
            from stylobate_actions.store.mongodb import MongoRunLedger  # noqa: PLC0415  its driver, for whoever has one

            return MongoRunLedger(storage.database, HOLD, LIFETIME)


async def build_in_memory(app: "MemoryApp") -> None:
    """Build the service for tests of modules: the same path of actions and hooks."""
    client = await app.enter(LimitsClient(app.channel("ratelimit"))) if app.counts_limits else None
    limits = ActionLimits(client, app.limit_rules) if client is not None else None
    runs = Runs(MemoryRunLedger(app.clock, HOLD, LIFETIME), asyncio.get_running_loop(), new_id)
    adapters = _Adapters(limits, None, app.hooks, runs, Sources(app.environ, ()), {}, app.clock)
    modules, runner = await _assemble(app, ActionsSettings(module_databases=app.databases), adapters)
    for one, method in _projected(modules, runner):
        project = in_memory(one.name, app.channel("state"), method)
        for source in one.sources:
            app.hooks.on(f"state.{source}.*", project, name=f"projection {one.name}", priority=-1)


def _projected(modules: ModuleManager, runner: HookRunner) -> Iterator[tuple[ProjectionDeclaration, Method]]:
    """Yield the projections of the modules that run, each with what deals with an event."""
    for module in modules.running.values():
        for projection in module.declaration.projections:
            yield projection, partial(runner.project, module, projection.name)


async def _assemble(
    app: "AppManager | MemoryApp", settings: ActionsSettings, adapters: _Adapters
) -> tuple[ModuleManager, HookRunner]:
    loop = asyncio.get_running_loop()
    runner = await app.enter(Runner.open())
    await app.enter(LoopWatchdog.open(runner.running, settings.blocked_loop_threshold))
    discovery = await ActionDiscoveryManager(adapters.sources, adapters.packages).discover(app.declarations)
    databases = ModuleDatabases()
    discovery = await databases.open(app, discovery, settings.module_databases, settings.database_url)
    runner.outage = databases.outage
    modules = await app.enter(ModuleManager.open(discovery, runner, start_timeout=settings.module_start_timeout), name="modules")
    for failure in modules.failures.values():
        app.leave_out(failure.name, failure.findings)
    actions = ActionManager(
        modules.actions,
        modules.failures,
        left_out=modules.left_out,
        access=AccessEvaluator(app.access),
        limits=adapters.limits,
        runner=runner,
        audit=adapters.audit,
        loop=loop,
        runs=adapters.runs,
        tells_defects=adapters.tells_defects,
    )
    rights = Rights(app.declarations, app.access)
    platform = Platform(
        state=StateClient(app.channel("state")),
        publish=ChannelFields(app.declarations, Publisher(app.channel("realtime")).publish).publish,
        call=actions.call,
        users=UsersClient(app.channel("auth")),
        may=rights.may,
        granted=rights.granted,
        databases=databases.of,
        now=adapters.clock,
        loop_time=loop.time,
    )
    actions.connect(platform)
    runs = HookRunner(
        modules,
        platform,
        runner,
        service=SERVICE,
        timeout=settings.hook_timeout,
        before_timeout=settings.before_hook_timeout,
        loop=loop,
    )
    users = UserData(modules, platform, runner, service=SERVICE, timeout=settings.hook_timeout, loop=loop)
    upgrades = UpgradeRunner(modules, runner, timeout=settings.upgrade_timeout, loop=loop)
    for module in modules.running.values():
        for hook in module.hooks:
            adapters.hooks.on(
                hook.subscription.pattern,
                partial(runs.handle, module, hook),
                name=hook.name,
                priority=hook.subscription.priority,
                delivery=hook.subscription.delivery,
                timeout=settings.hook_timeout + _SLACK,
            )
        for effect in effects_of(module.declaration):
            adapters.hooks.on(
                effect.pattern,
                effect.callback(partial(runs.effect, actions)),
                name=effect.name,
                timeout=settings.hook_timeout + _SLACK,
            )
    app.servicer(add_ActionServiceServicer_to_server, ActionServicer(actions, modules))
    app.servicer(add_ModuleServiceServicer_to_server, ModuleServicer(modules, runs, upgrades, users))
    app.servicer(add_UserDataServiceServicer_to_server, UserDataServicer(users))
    return modules, runs
