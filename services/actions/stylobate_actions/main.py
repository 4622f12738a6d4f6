"""The actions service, put together: the only place that names an adapter."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from stylobate.api.actions.v1.action_service_pb2_grpc import add_ActionServiceServicer_to_server
from stylobate.api.actions.v1.module_service_pb2_grpc import add_ModuleServiceServicer_to_server
from stylobate.app.manager import AppManager
from stylobate.audit import AuditTrail
from stylobate.audit.postgres import PostgresAuditStore
from stylobate.clients.limits import LimitsClient
from stylobate.clients.realtime import Publisher
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.declarations.sources import packages_of
from stylobate.hooks import HooksManager
from stylobate.hooks.postgres import PostgresHookStore
from stylobate.leases import LeaseManager
from stylobate.leases.postgres import PostgresLeaseStore
from stylobate.modules.context import Platform
from stylobate.modules.state import StateClient

from stylobate_actions.action_discovery_manager import ActionDiscoveryManager
from stylobate_actions.action_manager import ActionAudit, ActionManager
from stylobate_actions.audit import ActionTrail, NoTrail
from stylobate_actions.event_hooks import EventHooks, register_hooks
from stylobate_actions.hook_runner import HookRunner
from stylobate_actions.limits import ActionLimits, NoLimits, ServiceLimits
from stylobate_actions.module_manager import ModuleManager
from stylobate_actions.runner import Runner
from stylobate_actions.servicer import ActionServicer, ModuleServicer
from stylobate_actions.settings import ActionsSettings
from stylobate_actions.watchdog import LoopWatchdog

if TYPE_CHECKING:
    from stylobate.testing.memory_app import MemoryApp


@dataclass(frozen=True, slots=True)
class _Adapters:
    """What differs between a running platform and memory."""

    limits: ActionLimits
    audit: ActionAudit
    hooks: EventHooks
    environ: Mapping[str, str]
    packages: Mapping[Path, str]
    clock: Callable[[], datetime]
    tells_defects: bool = False


async def build(app: AppManager, settings: ActionsSettings) -> None:
    """Enter the parts in order. Waits for the database, for no other service."""
    database = await app.database()
    hooks = HooksManager(
        app.redis,
        store=PostgresHookStore(database),
        leases=LeaseManager(PostgresLeaseStore(database), app.node),
        channel=app.channel,
        outage_limit=settings.hook_outage_limit,
    )
    adapters = _Adapters(
        limits=ServiceLimits(
            await app.enter(LimitsClient(app.channel("ratelimit"), on_unreachable=settings.limits_on_unreachable))
        ),
        audit=ActionTrail(await app.enter(AuditTrail.open(PostgresAuditStore(database), app.name), name="audit")),
        hooks=hooks,
        environ=os.environ,
        packages=packages_of(settings.modules),
        clock=lambda: datetime.now(UTC),
        tells_defects=settings.is_development,
    )
    await _assemble(app, settings, adapters)
    app.check("hooks", hooks.health)
    app.task("hooks", hooks.run)
    app.ready_when(hooks.ready)  # until then a hook could miss what happens


async def build_in_memory(app: "MemoryApp") -> None:
    """Build the service for tests of modules: the same path of actions and hooks."""
    limits = ServiceLimits(await app.enter(LimitsClient(app.channel("ratelimit")))) if app.counts_limits else NoLimits()
    adapters = _Adapters(limits, NoTrail(), app.hooks, app.environ, {}, app.clock)
    await _assemble(app, ActionsSettings(), adapters)


async def _assemble(app: "AppManager | MemoryApp", settings: ActionsSettings, adapters: _Adapters) -> None:
    loop = asyncio.get_running_loop()
    runner = await app.enter(Runner.open())
    await app.enter(LoopWatchdog.open(runner.running, settings.blocked_loop_threshold))
    discovery = await ActionDiscoveryManager(adapters.environ, adapters.packages).discover(app.declarations)
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
        tells_defects=adapters.tells_defects,
    )
    platform = Platform(
        state=StateClient(app.channel("state")),
        publish=Publisher(app.channel("realtime")).publish,
        call=actions.call,
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
    register_hooks(adapters.hooks, modules.running.values(), runs, settings.hook_timeout)
    app.servicer(add_ActionServiceServicer_to_server, ActionServicer(actions))
    app.servicer(add_ModuleServiceServicer_to_server, ModuleServicer(modules, runs))


SERVICE = "actions"
