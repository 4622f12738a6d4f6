"""The manager of managers: what one hosted service is built from, kept and closed."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Protocol, TypeVar, runtime_checkable

import grpc.aio

from stylobate import __version__
from stylobate.app.changes import SettingChanges, Take
from stylobate.app.database_apart import Look
from stylobate.app.databases import Databases
from stylobate.app.express import Express
from stylobate.app.module_schema import ModuleSchema
from stylobate.app.mounts import Application, Upgrade
from stylobate.app.request_turns import TurnedAway
from stylobate.app.shared import Shared
from stylobate.app.storage import Storage
from stylobate.app.tasks import SupervisedTasks
from stylobate.audit import AuditChain, AuditSealer, AuditStore, AuditTrail
from stylobate.clients.bans import BanList
from stylobate.clients.limit_rules import LimitRules
from stylobate.config import Settings, Sources
from stylobate.database import DatabaseManager
from stylobate.declarations.model import Declarations, Finding
from stylobate.health import BoundedCheck, Health, HealthCheck, Status
from stylobate.identity.access import Access
from stylobate.identity.service_identity import ServiceIdentity
from stylobate.identity.verifier import TokenVerifier
from stylobate.leases import LeaseManager
from stylobate.logs import get_logger
from stylobate.outbox import EventLog
from stylobate.redis import RedisManager
from stylobate.rpc import RpcAccess
from stylobate.services import ServiceSpec
from stylobate.value_kinds import OnUnreachable
from stylobate.vault.manager import VaultManager

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
_log = get_logger("app")


@runtime_checkable
class _HasHealth(Protocol):
    async def health(self) -> Health: ...


class AppManager:
    """One hosted service: enters its managers in order, gathers their health, runs its background work, closes in reverse.

    A service's ``build(app, settings)`` gets one of these and nothing else. What several services of a process share
    (verifier, declarations, Redis connections, channels) is the :class:`~stylobate.app.shared.Shared` of the process.
    """

    def __init__(self, shared: Shared, spec: ServiceSpec, settings: Settings, identity: ServiceIdentity) -> None:
        self.name = spec.name
        self.spec = spec
        self.settings = settings
        self.identity = identity
        self.version = __version__
        self._shared = shared
        self._stack = AsyncExitStack()
        self._tasks = SupervisedTasks(spec.name)
        self._checks: dict[str, BoundedCheck] = {}
        self._waits: list[Callable[[], Awaitable[None]]] = []
        self._is_built = False
        self.changes = SettingChanges(settings)
        self._databases = Databases(self, shared)

    @property
    def node(self) -> str:
        """The name of this process, unique among those that run at a time."""
        return self._shared.placement.node

    @property
    def stopping(self) -> asyncio.Event:
        """Set before the listeners of this process stop: what is open without end is to be ended then."""
        return self._shared.stopping

    @property
    def trace_ratio(self) -> float:
        """The share of requests that begin a sampled trace; 0 when traces would go nowhere."""
        return self._shared.trace_ratio

    @property
    def trusts_traces(self) -> bool:
        """Whether a client's traceparent decides if its request is sampled."""
        return self._shared.settings.trace_trust_clients

    @property
    def sources(self) -> Sources:
        """Where settings and secrets come from, for those that modules have."""
        return self._shared.sources

    @property
    def vault(self) -> VaultManager | None:
        """The Vault of this process; None: settings name none."""
        return self._shared.vault

    @property
    def declarations(self) -> Declarations:
        """What the modules declare; loaded once per process."""
        return self._shared.declarations

    @property
    def verifier(self) -> TokenVerifier:
        """Verifies bearer tokens, with the deny-list in memory; one per process."""
        return self._shared.verifier

    @property
    def access(self) -> Access:
        """Decides permissions; one per process."""
        return self._shared.access

    @property
    def bans(self) -> BanList:
        """Who is banned, pushed into this process."""
        return self._shared.bans

    @property
    def limit_rules(self) -> LimitRules:
        """The rules of limits that hold, kept current."""
        return self._shared.limit_rules

    @property
    def limits_unreachable(self) -> OnUnreachable:
        """What holds at a door while limits cannot be asked."""
        return self._shared.settings.limits_unreachable

    @property
    def redis(self) -> RedisManager:
        """The process's Redis connections for this service's URL. Opened without waiting: Redis may be down."""
        return self._shared.redis(self.settings.redis_url)

    def channel(self, service: str) -> grpc.aio.Channel:
        """Return the channel to a service, wherever it runs. Calls carry this service's token and the caller's.

        Raises ValueError for one that the service does not need, says its spec.
        """
        if service not in self.spec.needs:
            raise ValueError(f"{self.name} does not need {service}: `needs` in its spec names those that it calls")
        return self._shared.channel(service, self.identity)

    def hosts(self, service: str) -> bool:
        """Return whether the service runs in this process: for what is shared between listeners, never for calls."""
        return service in self._shared.placement.services

    async def storage(self) -> Storage:
        """Open this service's database, of whichever kind its URL is; see :class:`Databases`."""
        return await self._databases.storage()

    async def settle(self) -> None:
        """Let go of what served the start alone."""
        await self._databases.settle()

    async def database(self) -> DatabaseManager:
        """Open this service's PostgreSQL."""
        return await self._databases.database()

    async def storage_apart(self, name: str, field: str, look: Look) -> Storage:
        """Open one more database with this service's schema; see :meth:`Databases.apart`."""
        return await self._databases.apart(name, field, look)

    async def module_storage(self, schema: ModuleSchema) -> Storage:
        """Open what a module keeps data of its own in; see :meth:`Databases.of_module`."""
        return await self._databases.of_module(schema)

    async def enter(self, manager: AbstractAsyncContextManager[T], *, name: str = "") -> T:
        """Enter a manager; it is closed in reverse order, also when the start fails half-way. One with ``health`` is checked.

        :param name: of its check; empty: the class's name.
        """
        entered = await self._stack.enter_async_context(manager)
        if isinstance(entered, _HasHealth):
            self.check(name or type(entered).__name__, entered.health)
        return entered

    def at_end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Have this called when the service closes, after what is entered later."""
        self._stack.push_async_callback(close)

    def task(self, name: str, factory: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run background work for as long as the service lives; restarted with backoff when it fails."""
        self._tasks.start(name, factory)

    def servicer(
        self,
        add: Callable[[Any, grpc.aio.Server], None],
        servicer: object,
        access: Mapping[str, RpcAccess] | None = None,
    ) -> None:
        """Serve a generated service. Its ``ACCESS``, or ``access``, names every method."""
        self._shared.servicers.register(add, servicer, access, self.name)

    def event_log(self, log: EventLog, heard: Callable[[], None] | None = None) -> Callable[[], None]:
        """Serve this service's outbox to readers (``EventService``). What is returned wakes them: a relay's ``on_numbered``.

        :param heard: is called when another process may have made it grow.
        """
        return self._shared.event_log(log, heard)

    async def audit_trail(self, store: AuditStore[T_contra], chain: AuditChain, leases: LeaseManager) -> AuditTrail[T_contra]:
        """Give the trail of this service's audit records, seal them in a chain, and serve them (``AuditService``)."""
        self._shared.audit_records(self.name, store, chain)
        sealer = AuditSealer(chain, self.name, leases, retention=self.settings.audit_retention or None)
        self.task("audit-chain", sealer.run)
        self.check("audit-chain", sealer.health)
        return await self.enter(AuditTrail.open(store, self.name), name="audit")

    def http(
        self,
        application: Application,
        *,
        proxies: Iterable[str] = (),
        express: Express | None = None,
        turned_away: TurnedAway | None = None,
    ) -> None:
        """Serve an ASGI application on the process's HTTP port, under the prefixes of the service's spec.

        :param proxies: networks (CIDR) of the proxies that it trusts: the port's bounds per address are not for them.
        :param express: answers some of its requests in its place.
        :param turned_away: is told of requests refused in its place.
        """
        self._shared.mounts.add(self.spec.http, application, proxies, express, turned_away)

    def websocket(self, upgrade: Upgrade, *, proxies: Iterable[str] = ()) -> None:
        """Serve WebSocket upgrades there."""
        self._shared.mounts.add_websocket(self.spec.http, upgrade, proxies)

    def follow(self, *fields: str, take: Take) -> None:
        """Have changes of these settings taken while the service runs: secrets that are exchanged in Vault.

        :param take: is given all of the service's settings. Raises ConfigError or StylobateError where it cannot use them yet.
        """
        self.changes.follow(frozenset(fields), take)

    def check(self, name: str, check: HealthCheck) -> None:
        """Add a named health check."""
        self._checks[name] = BoundedCheck(check)

    def leave_out(self, module: str, findings: Sequence[Finding]) -> None:
        """Note that a module does not run, and why: the status names it, and where modules are strict readiness fails."""
        self._shared.left_out[module] = [str(finding) for finding in findings]

    def ready_when(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Hold back the process's readiness until this returns: for work of a task that must have been done once."""
        self._waits.append(wait)

    # what the host calls

    async def start(self) -> None:
        """Build the service; what it entered is closed again when that fails."""
        self.check("tasks", self._tasks.health)
        try:
            await self.spec.build(self, self.settings)
        except BaseException:
            await self.close()
            raise
        if not self._databases.is_open:
            self.changes.forget("database_")
            self.ready_when(self._databases.migrate_unused)
        self._is_built = True

    async def wait_ready(self) -> None:
        """Wait for what readiness waits for."""
        for wait in self._waits:
            await wait()

    async def close(self) -> None:
        """Stop background work, then close in reverse order."""
        for check in self._checks.values():
            check.stop()
        await self._tasks.close()
        await self._stack.aclose()

    @property
    def is_ready(self) -> bool:
        """Whether it was built and its schema is up to date; says nothing of how it does."""
        return self._is_built and not self._databases.pending

    async def health(self) -> Health:
        """Ask every check. A part that is down makes the service degraded: it still serves what it can."""
        if self._databases.pending:
            return Health(
                Status.UNHEALTHY, f"behind on migrations: {', '.join(self._databases.pending)}; run `stylobate db upgrade`"
            )
        if not self._is_built:
            return Health(Status.UNHEALTHY, "starting")
        checks = tuple(self._checks.items())  # one may be added meanwhile
        answers = await asyncio.gather(*(check.ask() for _, check in checks))
        parts = {name: answer for (name, _), answer in zip(checks, answers, strict=True)}
        ill = [f"{name}: {part.details or part.status}" for name, part in parts.items() if part.status is not Status.HEALTHY]
        return Health(Status.DEGRADED if ill else Status.HEALTHY, "; ".join(ill), dependencies=parts)
