"""The manager of managers: what one hosted service is built from, kept and closed."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Any, Protocol, TypeVar, runtime_checkable

import grpc.aio

from stylobate import __version__
from stylobate.app.changes import SettingChanges, Take
from stylobate.app.database_apart import D, Look, Opening
from stylobate.app.express import Express
from stylobate.app.module_schema import ModuleSchema
from stylobate.app.mounts import Application, Upgrade
from stylobate.app.request_turns import TurnedAway
from stylobate.app.shared import Shared
from stylobate.app.storage import MongoStorage, PostgresStorage, Storage
from stylobate.app.tasks import SupervisedTasks
from stylobate.audit import AuditChain, AuditSealer, AuditStore, AuditTrail
from stylobate.clients.bans import BanList
from stylobate.clients.limit_rules import LimitRules
from stylobate.config import ConfigError, Settings, Sources
from stylobate.database import DatabaseManager, Limits
from stylobate.database.address import is_mongodb
from stylobate.database.refusal import URL
from stylobate.database.schema import SchemaMigrator, migrator_of
from stylobate.declarations.model import Declarations, Finding
from stylobate.health import BoundedCheck, Health, HealthCheck, Status
from stylobate.identity import Access, ServiceIdentity, TokenVerifier
from stylobate.leases import LeaseManager
from stylobate.logs import get_logger
from stylobate.outbox import EventLog
from stylobate.redis import RedisManager
from stylobate.resilience import wait_for_dependency
from stylobate.rpc import RpcAccess
from stylobate.services import ServiceSpec
from stylobate.value_kinds import OnUnreachable
from stylobate.vault.manager import VaultManager

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
_log = get_logger("app")
_MIGRATIONS_LOOK_S = 1.0
_NO_OWNER = "needs STYLOBATE_DATABASE_ROLES: else tables would belong to users that Vault removes"
_UNUSED_WITHIN_S = 5.0


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
        self._pending: list[str] = []
        self._waits: list[Callable[[], Awaitable[None]]] = []
        self._is_built = False
        self._has_database = False
        self.changes = SettingChanges(settings)

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
        """Open this service's database, of whichever kind its URL is; return the adapters of that kind. See :meth:`database`."""
        if not is_mongodb(self.settings.database_url):
            return PostgresStorage(await self.database())
        if self._shared.settings.vault_database_role:
            raise ConfigError(["STYLOBATE_VAULT_DATABASE_ROLE: users that Vault makes are for PostgreSQL, not for MongoDB yet"])
        from stylobate.database.mongodb import MongoManager  # noqa: PLC0415  its driver: 11 MB, for whoever has one

        await self._migrated()
        opened = partial(MongoManager.open, self.changes.newest.database_url, service=self.name, limits=self._limits())
        database = await self.enter(opened(pool_size=self.settings.database_pool_size, refused=self._refused), name="database")

        async def take(fresh: Settings) -> None:
            await database.use(fresh.database_url)

        self.follow("database_url", take=take)
        return MongoStorage(database)

    async def database(self) -> DatabaseManager:
        """Open this service's PostgreSQL; waits for the server, migrates in development and elsewhere waits for who migrates."""
        settings = self.settings
        if is_mongodb(settings.database_url):
            own = f"STYLOBATE_{self.name.upper()}_DATABASE_URL"
            raise ConfigError([f"{URL}: {self.name} does not run on MongoDB yet; {own} gives it a PostgreSQL"])
        if not settings.database_roles and self._shared.settings.vault_database_role:
            raise ConfigError([f"STYLOBATE_VAULT_DATABASE_ROLE: {_NO_OWNER}"])
        await self._migrated()
        newest = self.changes.newest  # whoever opens late is let in by another password than that of the start
        opened = partial(self._opened, newest.database_url, replica_url=newest.database_replica_url)
        database = await self.enter(opened(pool_size=settings.database_pool_size, refused=self._refused), name="database")

        async def take(fresh: Settings) -> None:
            await database.use(fresh.database_url, fresh.database_replica_url)

        self.follow("database_url", "database_replica_url", take=take)
        return database

    async def storage_apart(self, name: str, field: str, look: Look) -> Storage:
        """Open one more database with this service's schema. The start waits for it a moment only, and the service runs without.

        Until it was there, is up to date and was looked at, whatever is asked of it is refused as unavailable.

        :param field: of the settings, with the URLs of such databases by their names: another user or password there is followed.
        :param look: looks whether it may be used. Raises ConfigError where it may not.
        :raises ConfigError: it may not, or does not let us in.
        """
        kind, url = type(self.settings), getattr(self.settings, field)[name]
        setting, roles = kind.variable(field), kind.logins.get(field)
        if roles is not None and name in getattr(self.settings, roles) and not self.settings.database_roles:
            raise ConfigError([f"{kind.variable(roles)}: {_NO_OWNER}"])
        if is_mongodb(url):
            from stylobate.database.mongodb import MongoManager  # noqa: PLC0415  its driver: 11 MB, for whoever has one

            on_mongodb = partial(
                MongoManager.open, service=self.name, limits=self._limits(), setting=setting, refused=self._refused
            )
            return MongoStorage(await self._apart(name, field, on_mongodb, lambda one: look(MongoStorage(one))))
        on_postgres = partial(self._opened, setting=setting, refused=self._refused)
        return PostgresStorage(await self._apart(name, field, on_postgres, lambda one: look(PostgresStorage(one))))

    async def module_storage(self, schema: ModuleSchema) -> Storage:
        """Open what a module keeps data of its own in, likewise. Raises ConfigError, MigrationError."""
        settings, field = self.settings, self.spec.module_databases
        name, setting = f"of {schema.module}", schema.setting

        def url_in(fresh: Any) -> str:
            return str(getattr(fresh, field).get(schema.module, fresh.database_url))

        def migrator(url: str) -> SchemaMigrator:
            return migrator_of(url, schema.name, schema.migrations, use_role=settings.database_roles, setting=setting)

        def url() -> str:
            return url_in(self.changes.newest)

        if is_mongodb(schema.url):
            from stylobate.database.mongodb import MongoManager  # noqa: PLC0415  its driver: 11 MB, for whoever has one

            on_mongodb = partial(
                MongoManager.open,
                service=schema.name,
                limits=self._limits(),
                setting=setting,
                bounds_all=True,
                refused=self._refused,
            )
            mongo, opening_mongo = await self._held_back(name, url, migrator, on_mongodb, _nothing_more)
            self._exchange(mongo, opening_mongo, url_in, field, "database_url")
            return MongoStorage(mongo)
        on_postgres = partial(self._opened, service=schema.name, setting=setting, refused=self._refused)
        database, opening = await self._held_back(name, url, migrator, on_postgres, _nothing_more)
        self._exchange(database, opening, url_in, field, "database_url")
        return PostgresStorage(database)

    async def _apart(
        self,
        name: str,
        field: str,
        opened: Callable[..., AbstractAsyncContextManager[D]],
        look: Callable[[D], Awaitable[None]],
    ) -> D:
        settings, service = self.settings, self.name
        migrator = partial(
            migrator_of,
            service=service,
            sets=self.spec.migrations,
            use_role=settings.database_roles,
            setting=type(settings).variable(field),
        )

        def url() -> str:
            newest: Mapping[str, str] = getattr(self.changes.newest, field)
            return newest.get(name, getattr(settings, field)[name])

        def url_in(fresh: Any) -> str:
            wanted: Mapping[str, str] = getattr(fresh, field)
            if wanted.keys() != getattr(settings, field).keys():
                raise ConfigError([f"{type(settings).variable(field)}: databases are added and taken away at a restart"])
            return wanted[name]

        database, opening = await self._held_back(name, url, migrator, opened, look)
        self._exchange(database, opening, url_in, field)
        return database

    def _exchange(self, database: D, opening: Opening[D], url_in: Callable[[Any], str], *fields: str) -> None:
        """Have the user and the password followed that these settings give."""

        async def take(fresh: Settings) -> None:
            await database.use(url_in(fresh))
            opening.again()

        self.follow(*fields, take=take)

    async def _held_back(
        self,
        name: str,
        url: Callable[[], str],
        migrator: Callable[[str], SchemaMigrator],
        opened: Callable[..., AbstractAsyncContextManager[D]],
        look: Callable[[D], Awaitable[None]],
    ) -> tuple[D, Opening[D]]:
        """Open a database that is held back until it was there, is up to date and was looked at; see :class:`Opening`."""
        settings = self.settings
        pool = opened(url(), pool_size=settings.database_pool_size, waits=False)
        database = await self.enter(pool, name=f"database {name}")

        async def look_there(where: str) -> None:
            async with opened(where, pool_size=1) as looking:
                await wait_for_dependency(f"look at database {name}", lambda: look(looking))

        opening = Opening(name, database, url, migrator, look_there, migrates=settings.is_development)
        self._stack.push_async_callback(opening.close)
        if not await opening.is_soon_done():
            self.check(f"opening {name}", opening.health)
        return database, opening

    def _refused(self) -> None:
        self._shared.secret_refused()

    def _opened(self, url: str, service: str = "", **options: Any) -> AbstractAsyncContextManager[DatabaseManager]:
        settings = self.settings
        return DatabaseManager.open(
            url,
            service=service or self.name,
            use_role=settings.database_roles,
            pooler=settings.database_pooler,
            limits=self._limits(),
            listeners=self._shared.listeners,
            **options,
        )

    def _limits(self) -> Limits:
        settings = self.settings
        return Limits(
            settings.database_statement_timeout, settings.database_lock_timeout, settings.database_idle_transaction_timeout
        )

    async def enter(self, manager: AbstractAsyncContextManager[T], *, name: str = "") -> T:
        """Enter a manager; it is closed in reverse order, also when the start fails half-way. One with ``health`` is checked.

        :param name: of its check; empty: the class's name.
        """
        entered = await self._stack.enter_async_context(manager)
        if isinstance(entered, _HasHealth):
            self.check(name or type(entered).__name__, entered.health)
        return entered

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

    async def _migrated(self) -> None:
        """Have the schema brought up to date: by this process in development, elsewhere by whoever migrates."""
        self._has_database, where, migrator = True, f"database of {self.name}", self._migrator()
        if self.settings.is_development:
            await wait_for_dependency(where, migrator.upgrade)
        else:
            await self._wait_for_migrations(where, migrator)

    async def _wait_for_migrations(self, where: str, migrator: SchemaMigrator) -> None:
        """Wait until the schema is up to date: a process may start before whoever migrates, and goes on by itself afterwards."""
        self._pending = await wait_for_dependency(where, migrator.pending)
        if self._pending:
            _log.error("behind_on_migrations", service=self.name, pending=self._pending, cure="stylobate db upgrade")
        while self._pending:
            await asyncio.sleep(_MIGRATIONS_LOOK_S)
            self._pending = await wait_for_dependency(where, migrator.pending)

    def _migrator(self) -> SchemaMigrator:
        settings = self.changes.newest
        return migrator_of(settings.database_url, self.name, self.spec.migrations, use_role=settings.database_roles)

    async def _migrate_unused(self) -> None:
        """Make a schema that the service does not open yet, where the database answers: nothing here waits for it."""
        try:
            async with asyncio.timeout(_UNUSED_WITHIN_S):
                await self._migrator().upgrade()
        except Exception as error:  # noqa: BLE001  whatever it is: the service runs without
            _log.info("unused_schema_not_made", service=self.name, error=str(error), cure="stylobate db upgrade")

    # what the host calls

    async def start(self) -> None:
        """Build the service; what it entered is closed again when that fails."""
        self.check("tasks", self._tasks.health)
        try:
            await self.spec.build(self, self.settings)
        except BaseException:
            await self.close()
            raise
        if not self._has_database:
            self.changes.forget("database_")
        if self.spec.migrations and not self._has_database and self.settings.is_development:
            self.ready_when(self._migrate_unused)
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
        return self._is_built and not self._pending

    async def health(self) -> Health:
        """Ask every check. A part that is down makes the service degraded: it still serves what it can."""
        if self._pending:
            return Health(Status.UNHEALTHY, f"behind on migrations: {', '.join(self._pending)}; run `stylobate db upgrade`")
        if not self._is_built:
            return Health(Status.UNHEALTHY, "starting")
        checks = tuple(self._checks.items())  # one may be added meanwhile
        answers = await asyncio.gather(*(check.ask() for _, check in checks))
        parts = {name: answer for (name, _), answer in zip(checks, answers, strict=True)}
        ill = [f"{name}: {part.details or part.status}" for name, part in parts.items() if part.status is not Status.HEALTHY]
        return Health(Status.DEGRADED if ill else Status.HEALTHY, "; ".join(ill), dependencies=parts)


async def _nothing_more(_: object) -> None:
    """Look at nothing of a database but that it lets us in."""
