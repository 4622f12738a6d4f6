"""The databases of one hosted service: its own, further ones with its schema, and those of modules."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from stylobate.app.changes import SettingChanges, Take
from stylobate.app.database_apart import D, Look, Opening
from stylobate.app.module_schema import ModuleSchema
from stylobate.app.shared import Shared
from stylobate.app.storage import MongoStorage, PostgresStorage, Storage
from stylobate.config import ConfigError, Settings
from stylobate.database import DatabaseManager, Limits
from stylobate.database.address import is_mongodb
from stylobate.database.refusal import URL
from stylobate.database.schema import SchemaMigrator, migrator_of
from stylobate.health import HealthCheck
from stylobate.logs import get_logger
from stylobate.resilience import wait_for_dependency
from stylobate.services import ServiceSpec

if TYPE_CHECKING:
    from stylobate.database.mongodb import MongoManager

T = TypeVar("T")
_log = get_logger("app")
_MIGRATIONS_LOOK_S = 1.0
_NO_OWNER = "needs STYLOBATE_DATABASE_ROLES: else tables would belong to users that Vault removes"
_UNUSED_WITHIN_S = 5.0


class _Service(Protocol):
    """What is asked of the service that they are for: see AppManager."""

    name: str
    spec: ServiceSpec
    settings: Settings
    changes: SettingChanges

    async def enter(self, manager: AbstractAsyncContextManager[T], *, name: str = "") -> T: ...
    def at_end(self, close: Callable[[], Awaitable[None]]) -> None: ...
    def check(self, name: str, check: HealthCheck) -> None: ...
    def follow(self, *fields: str, take: Take) -> None: ...


class Databases:
    """Opens them, brings their schemas up to date, and follows settings that name another user or password.

    :param app: the service; it enters and closes what is opened here, and checks its health.
    """

    def __init__(self, app: _Service, shared: Shared) -> None:
        self._app = app
        self._shared = shared
        self.is_open = False
        """Whether the service has one of its own open."""
        self.pending: list[str] = []
        """The migrations that the service waits for."""
        self._own: DatabaseManager | None = None

    async def storage(self) -> Storage:
        """Open the service's own, of whichever kind its URL is; return the adapters of that kind. See :meth:`database`."""
        settings = self._app.settings
        if not is_mongodb(settings.database_url):
            return PostgresStorage(await self.database())
        if self._shared.settings.vault_database_role:
            raise ConfigError(["STYLOBATE_VAULT_DATABASE_ROLE: users that Vault makes are for PostgreSQL, not for MongoDB yet"])
        await self._migrated()
        opened = self._on_mongodb(self._app.name)(self._app.changes.newest.database_url, pool_size=settings.database_pool_size)
        database = await self._app.enter(opened, name="database")

        async def take(fresh: Settings) -> None:
            await database.use(fresh.database_url)

        self._app.follow("database_url", take=take)
        return MongoStorage(database)

    async def database(self) -> DatabaseManager:
        """Open the service's own PostgreSQL; waits for the server, and migrates in development or waits for who migrates."""
        settings = self._app.settings
        if is_mongodb(settings.database_url):
            own = f"STYLOBATE_{self._app.name.upper()}_DATABASE_URL"
            raise ConfigError([f"{URL}: {self._app.name} does not run on MongoDB yet; {own} gives it a PostgreSQL"])
        if not settings.database_roles and self._shared.settings.vault_database_role:
            raise ConfigError([f"STYLOBATE_VAULT_DATABASE_ROLE: {_NO_OWNER}"])
        await self._migrated()
        newest = self._app.changes.newest  # whoever opens late is let in by another password than that of the start
        opened = self._on_postgres(self._app.name, replica_url=newest.database_replica_url)
        pool = opened(newest.database_url, pool_size=settings.database_pool_size)
        database = await self._app.enter(pool, name="database")

        async def take(fresh: Settings) -> None:
            await database.use(fresh.database_url, fresh.database_replica_url)

        self._app.follow("database_url", "database_replica_url", take=take)
        self._own = database
        return database

    async def settle(self) -> None:
        """Part with connections that served the start: each is a process of PostgreSQL, and keeps what it planned for that."""
        if self._own is not None:
            await self._own.renew()
            await self._own.reader.renew()

    async def apart(self, name: str, field: str, look: Look) -> Storage:
        """Open one more with this service's schema. The start waits for it a moment only, and the service runs without.

        Until it was there, is up to date and was looked at, whatever is asked of it is refused as unavailable.

        :param field: of the settings, with the URLs of such databases by their names: another user or password there is followed.
        :param look: looks whether it may be used. Raises ConfigError where it may not.
        :raises ConfigError: it may not, or does not let us in.
        """
        settings, service = self._app.settings, self._app.name
        kind, url = type(settings), getattr(settings, field)[name]
        setting, roles = kind.variable(field), kind.logins.get(field)
        if roles is not None and name in getattr(settings, roles) and not settings.database_roles:
            raise ConfigError([f"{kind.variable(roles)}: {_NO_OWNER}"])
        if is_mongodb(url):
            on_mongodb = self._on_mongodb(service, setting=setting)
            return MongoStorage(await self._apart(name, field, on_mongodb, lambda one: look(MongoStorage(one))))
        on_postgres = self._on_postgres(service, setting=setting)
        return PostgresStorage(await self._apart(name, field, on_postgres, lambda one: look(PostgresStorage(one))))

    async def of_module(self, schema: ModuleSchema) -> Storage:
        """Open what a module keeps data of its own in, likewise. Raises ConfigError, MigrationError."""
        settings, field = self._app.settings, self._app.spec.module_databases
        name, setting = f"of {schema.module}", schema.setting

        def url_in(fresh: Any) -> str:
            return str(getattr(fresh, field).get(schema.module, fresh.database_url))

        def migrator(url: str) -> SchemaMigrator:
            return migrator_of(url, schema.name, schema.migrations, use_role=settings.database_roles, setting=setting)

        async def opened(of_kind: Callable[..., AbstractAsyncContextManager[D]]) -> D:
            database, opening = await self._held_back(
                name, lambda: url_in(self._app.changes.newest), migrator, of_kind, _nothing_more
            )
            self._exchange(database, opening, url_in, field, "database_url")
            return database

        if is_mongodb(schema.url):
            return MongoStorage(await opened(self._on_mongodb(schema.name, setting=setting, bounds_all=True)))
        return PostgresStorage(await opened(self._on_postgres(schema.name, setting=setting)))

    async def migrate_unused(self) -> None:
        """Make a schema that the service does not open yet, where the database answers: nothing here waits for it."""
        app = self._app
        if not app.spec.migrations or not app.settings.is_development:
            return
        try:
            async with asyncio.timeout(_UNUSED_WITHIN_S):
                await self._migrator().upgrade()
        except Exception as error:  # noqa: BLE001  whatever it is: the service runs without
            _log.info("unused_schema_not_made", service=app.name, error=str(error), cure="stylobate db upgrade")

    async def _apart(
        self,
        name: str,
        field: str,
        opened: Callable[..., AbstractAsyncContextManager[D]],
        look: Callable[[D], Awaitable[None]],
    ) -> D:
        settings, changes = self._app.settings, self._app.changes
        migrator = partial(
            migrator_of,
            service=self._app.name,
            sets=self._app.spec.migrations,
            use_role=settings.database_roles,
            setting=type(settings).variable(field),
        )

        def url() -> str:
            newest: Mapping[str, str] = getattr(changes.newest, field)
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

        self._app.follow(*fields, take=take)

    async def _held_back(
        self,
        name: str,
        url: Callable[[], str],
        migrator: Callable[[str], SchemaMigrator],
        opened: Callable[..., AbstractAsyncContextManager[D]],
        look: Callable[[D], Awaitable[None]],
    ) -> tuple[D, Opening[D]]:
        """Open a database that is held back until it was there, is up to date and was looked at; see :class:`Opening`."""
        app = self._app
        pool = opened(url(), pool_size=app.settings.database_pool_size, waits=False)
        database = await app.enter(pool, name=f"database {name}")

        async def look_there(where: str) -> None:
            async with opened(where, pool_size=1) as looking:
                await wait_for_dependency(f"look at database {name}", lambda: look(looking))

        opening = Opening(name, database, url, migrator, look_there, migrates=app.settings.is_development)
        app.at_end(opening.close)
        if not await opening.is_soon_done():
            app.check(f"opening {name}", opening.health)
        return database, opening

    def _on_postgres(self, service: str, **options: Any) -> Callable[..., AbstractAsyncContextManager[DatabaseManager]]:
        """Return what opens a PostgreSQL by its URL."""
        settings = self._app.settings
        return partial(
            DatabaseManager.open,
            service=service,
            use_role=settings.database_roles,
            pooler=settings.database_pooler,
            limits=self._limits(),
            listeners=self._shared.listeners,
            refused=self._refused,
            **options,
        )

    def _on_mongodb(self, service: str, **options: Any) -> "Callable[..., AbstractAsyncContextManager[MongoManager]]":
        """Return what opens a MongoDB by its URL."""
        from stylobate.database.mongodb import MongoManager  # noqa: PLC0415  its driver: 11 MB, for whoever has one

        return partial(MongoManager.open, service=service, limits=self._limits(), refused=self._refused, **options)

    def _refused(self) -> None:
        self._shared.secret_refused()

    def _limits(self) -> Limits:
        settings = self._app.settings
        return Limits(
            settings.database_statement_timeout, settings.database_lock_timeout, settings.database_idle_transaction_timeout
        )

    async def _migrated(self) -> None:
        """Have the schema brought up to date: by this process in development, elsewhere by whoever migrates.

        A process may start before whoever migrates, and goes on by itself afterwards.
        """
        name = self._app.name
        self.is_open, where, migrator = True, f"database of {name}", self._migrator()
        if self._app.settings.is_development:
            await wait_for_dependency(where, migrator.upgrade)
            return
        self.pending = await wait_for_dependency(where, migrator.pending)
        if self.pending:
            _log.error("behind_on_migrations", service=name, pending=self.pending, cure="stylobate db upgrade")
        while self.pending:
            await asyncio.sleep(_MIGRATIONS_LOOK_S)
            self.pending = await wait_for_dependency(where, migrator.pending)

    def _migrator(self) -> SchemaMigrator:
        settings = self._app.changes.newest
        return migrator_of(settings.database_url, self._app.name, self._app.spec.migrations, use_role=settings.database_roles)


async def _nothing_more(_: object) -> None:
    """Look at nothing of a database but that it lets us in."""
