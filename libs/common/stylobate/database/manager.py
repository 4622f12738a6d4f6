"""The database of a service in this process: the pools, the listening connection, health."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, Self

import asyncpg

from stylobate.database.address import hosts, seeking
from stylobate.database.connection import Connection
from stylobate.database.faults import NO_CONNECTION, unavailable
from stylobate.database.listener import Listener, Listeners, Listening
from stylobate.database.login import REFUSED, Login
from stylobate.database.migrations import role_of
from stylobate.database.queries import Queries
from stylobate.database.refusal import REPLICA_URL, URL, refusals
from stylobate.errors import DatabaseUnavailableError
from stylobate.health import Health, Status
from stylobate.logs import get_logger
from stylobate.resilience import wait_for_dependency

_TIMES = {"timezone": "UTC", "datestyle": "ISO"}
"""As text, times are read in a third of what the driver's own decoding takes: ``datetime.fromisoformat``."""
_IDLE_S = 10.0
"""For how long a connection is kept that nobody uses: a process of the server that holds 3 to 5 MB. Another is there in 3 ms."""
_CLOSE_S = 2.0
_LOOK_S = 3.0
_ANSWER = timedelta(milliseconds=500)
"""For the server's answer that a limit was reached; without one it counts as hanging."""
_log = get_logger("app")

READER_SHARE = 2
"""The read-only pool may have one connection for this many of the other."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long the server lets things take."""

    statement: timedelta = timedelta(seconds=4)
    """A statement. Less than callers wait (5 s), so that they are told."""
    lock: timedelta = timedelta(seconds=3)
    """A wait for a lock."""
    idle_in_transaction: timedelta = timedelta(seconds=10)
    """A pause between the statements of a transaction."""

    def settings(self) -> dict[str, str]:
        """Return PostgreSQL's settings."""
        return {
            "statement_timeout": _milliseconds(self.statement),
            "lock_timeout": _milliseconds(self.lock),
            "idle_in_transaction_session_timeout": _milliseconds(self.idle_in_transaction),
        }


def _milliseconds(duration: timedelta) -> str:
    return str(max(1, round(duration.total_seconds() * 1000)))


class DatabaseManager(Queries):
    """The statements of one service, on its own schema and, by default, in its own role.

    ``execute``, ``fetch``, ``fetchrow``, ``fetchval`` and ``transaction`` go to the server that takes writes; ``reader``
    has the same calls on read-only connections, to the replica where there is one (its rows may be a moment old).
    """

    def __init__(
        self, pool: asyncpg.Pool, reader: Queries, listener: Listener, logins: tuple[Login, Login], *, has_replica: bool
    ) -> None:
        super().__init__(pool, is_writer=True)
        self.reader = reader
        self._listener = listener
        self._login, self._reader_login = logins
        self._has_replica = has_replica

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        service: str,
        replica_url: str = "",
        pool_size: int = 10,
        use_role: bool = True,
        connect_timeout: timedelta = timedelta(seconds=3),
        limits: Limits = Limits(),
        pooler: bool = False,
        setting: str = URL,
        waits: bool = True,
        refused: Callable[[], None] = lambda: None,
        listeners: Listeners | None = None,
    ) -> AsyncIterator[Self]:
        """Connect, waiting for a server that does not answer yet, and close everything at the end.

        :param url: ``postgresql://user:password@host1,host2/db?sslmode=verify-full&sslrootcert=…``, as libpq has it; of
            several hosts the one that takes writes is found again after a failover.
        :param service: names the schema and the role ``stylobate_<service>``; see Migrator.
        :param replica_url: for :attr:`reader`; empty: the same server.
        :param use_role: take the service's role, so that a defect in one service cannot touch another's tables.
        :param limits: of statements, which the server keeps; past them the caller gets DatabaseUnavailableError.
        :param pooler: whether a pooler in session mode stands between, which takes no startup parameters: everything is set by
            statements after connecting, and no statements are kept prepared.
        :param setting: that the URL comes from, for who must set it right. :param waits: False: whoever asks first waits.
        :param refused: is called when the server refuses the user or the password: who knows another may :meth:`use` it.
        :param listeners: whose connection to this database it shares; None: it has one of its own.
        :raises ConfigError: the server, or the replica, answers and does not let us in.
        """
        options: dict[str, Any] = {"connect_timeout": connect_timeout, "command_timeout": limits.statement + _ANSWER}
        settings = {"search_path": service, "application_name": f"stylobate-{service}", **_TIMES, **limits.settings()}
        if use_role:
            settings["role"] = role_of(service)
        login = Login(url, setting=setting, refused=refused)
        reader_login = Login(replica_url, setting=REPLICA_URL, refused=refused) if replica_url else login
        reader_size = max(1, pool_size // READER_SHARE)
        read_only = settings | {"default_transaction_read_only": "on"}
        async with (
            _pool(login, pool_size, settings, pooler=pooler, **options) as pool,
            _pool(reader_login, reader_size, read_only, pooler=pooler, to_replica=bool(replica_url), **options) as second,
            (listeners or Listeners()).to(login) as listener,
        ):
            reader = Queries(second, is_writer=False)
            manager = cls(pool, reader, listener, (login, reader_login), has_replica=bool(replica_url))
            if waits:
                await wait_for_dependency(f"database {hosts(url)} for {service}", partial(_ask, manager, setting, url))
            if replica_url:
                with suppress(DatabaseUnavailableError):  # without it reads fail and the rest works
                    await _ask(manager.reader, REPLICA_URL, replica_url)
            try:
                yield manager
            finally:
                await manager.let_go()
                await manager.reader.let_go()

    async def use(self, url: str, replica_url: str = "") -> None:
        """Go on with another user or password: connections are made anew as they come back, what is under way ends well.

        :raises ConfigError: it is refused (it is used once the server takes it), or leads to another server or database.
        """
        other_user = False
        for login, wanted, read_only in ((self._login, url, False), (self._reader_login, replica_url, True)):
            if wanted and wanted != login.url:
                other_user |= await login.use(wanted, partial(_look, read_only=read_only))
        for queries in (self, self.reader):
            await queries.renew()
        if other_user and self._login is self._listener.login:
            self._listener.renew()

    async def listen(self, channel: str, callback: Callable[[str], None]) -> Listening:
        """Call back with the payload of every ``NOTIFY`` on the channel from now on; returns when that holds.

        Notifications sent while the connection was lost are lost: after a reconnect the callback gets ``""``, and looks
        for itself. The callback must not block. Close the returned object to end it.
        """
        return await self._listener.listen(channel, callback)

    def hold(self, why: str) -> None:
        """Refuse everything with DatabaseUnavailableError, as if it did not answer, until it is held no more (empty)."""
        self.held = self.reader.held = why

    async def health(self) -> Health:
        """Ask the server, and the replica where there is one: without it reads fail and the rest works."""
        health = await super().health()
        if not self._has_replica:
            return health
        replica = await self.reader.health()
        if health.status is Status.HEALTHY and replica.status is not Status.HEALTHY:
            health = replace(health, status=Status.DEGRADED, details=f"replica: {replica.details}")
        return replace(health, dependencies={"replica": replica})


async def _ask(server: Queries, setting: str, url: str) -> None:
    """Ask for a sign of life. Raises DatabaseUnavailableError, and ConfigError for what no waiting cures."""
    with refusals(setting, url):
        await server.fetchval("select 1")


def _placing(settings: Mapping[str, str], *, pooler: bool) -> dict[str, Any]:
    """Return how a connection gets its settings: as it begins, or through a pooler by a statement afterwards."""
    if not pooler:
        return {"server_settings": dict(settings)}

    async def place(connection: Any) -> None:
        last = sorted(settings.items(), key=lambda setting: setting[0] == "role")  # what the role may not set comes first
        await connection.execute("".join(f"set {name} = '{value}';" for name, value in last))

    return {"init": place, "statement_cache_size": 0}


async def _look(url: str, *, read_only: bool) -> None:
    """Connect, and close again. Raises asyncpg's errors of what does not let us in, DatabaseUnavailableError for others."""
    try:
        connection = await asyncpg.connect(seeking(url, read_only=read_only), timeout=_LOOK_S)
    except REFUSED:
        raise
    except NO_CONNECTION as error:
        raise unavailable(error) from error
    await connection.close()


@asynccontextmanager
async def _pool(
    login: Login,
    size: int,
    settings: Mapping[str, str],
    *,
    connect_timeout: timedelta,
    command_timeout: timedelta,
    pooler: bool,
    to_replica: bool = False,
) -> AsyncIterator[asyncpg.Pool]:
    """Give a pool that connects when asked, and close it: at most for a while, whoever still holds a connection."""

    async def connect(*_: object, **options: Any) -> asyncpg.Connection:
        return await login.connect(lambda url: asyncpg.connect(seeking(url, read_only=to_replica), **options))

    pool = await asyncpg.create_pool(
        connect=connect,
        max_size=size,
        min_size=0,
        init_size=0,
        connection_class=Connection,
        timeout=connect_timeout.total_seconds(),
        command_timeout=command_timeout.total_seconds(),
        max_inactive_connection_lifetime=_IDLE_S,
        **_placing(settings, pooler=pooler),
    )
    try:
        yield pool
    finally:
        try:
            async with asyncio.timeout(_CLOSE_S):
                await pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InternalClientError) as error:
            _log.warning("database_pool_closed_hard", error=type(error).__name__)
            pool.terminate()
