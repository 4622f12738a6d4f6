"""The MongoDB of a service in this process: its client, statements and transactions, signals, health."""

import asyncio
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import pymongo
from pymongo import AsyncMongoClient, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import OperationFailure, PyMongoError, ServerSelectionTimeoutError
from pymongo.read_preferences import SecondaryPreferred

from stylobate.config import ConfigError
from stylobate.database.address import hosts
from stylobate.database.faults import RETRY_AFTER
from stylobate.database.login import Login
from stylobate.database.manager import Limits
from stylobate.database.mongodb import waiting
from stylobate.database.mongodb.address import database_of
from stylobate.database.mongodb.faults import FAULTS, ClashError, LoginRefusedError, fault_of, unavailable
from stylobate.database.mongodb.lean_pool import LeanPool
from stylobate.database.mongodb.leftovers import Leftovers
from stylobate.database.mongodb.refusal import check_greeting, is_about_rights, is_sharded, look, may_not, refusals, tell_sharded
from stylobate.database.mongodb.signals import COLLECTION as SIGNAL
from stylobate.database.mongodb.signals import Signalled, Signals
from stylobate.database.mongodb.statements import Collection, Do, Document, R, Statements
from stylobate.database.mongodb.transaction import MongoTransaction
from stylobate.database.mongodb.ways import CODECS, Way, Ways
from stylobate.database.refusal import URL
from stylobate.errors import DatabaseUnavailableError
from stylobate.health import Health, Status
from stylobate.logs import get_logger
from stylobate.resilience import backoff, wait_for_dependency

T = TypeVar("T")
_LIMITS = Limits()
_PATIENCE = timedelta(seconds=1)
"""For a server that cannot be reached, before a caller is told."""
_WAIT_MS = 2000
_IDLE_MS = 10_000
SECONDARY_LAG_S = 90
_log = get_logger("app")


class MongoManager(Statements):
    """The statements of one service, on its own database: read from the primary what a majority has, written to a majority.

    ``reader`` has the reading ones, from a secondary where there is one (what it gives may be a moment old).
    """

    def __init__(self, ways: Callable[[str, float], Ways], name: str, where: str, limits: Limits) -> None:
        self.name = name
        """Of its database."""
        self.where = where
        """The servers, for logs."""
        self.statement_s = limits.statement.total_seconds()
        self.lock_s = limits.lock.total_seconds()
        self.held = ""
        """Why nothing is asked of the server yet; empty: it is."""
        self._ways = ways(name, self.statement_s)
        self._in_use = 0
        self._signals: Signals
        self.leftovers = Leftovers(self)
        self.reader: Statements = Reader(self)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        service: str,
        pool_size: int = 10,
        connect_timeout: timedelta = timedelta(seconds=3),
        limits: Limits = _LIMITS,
        setting: str = URL,
        waits: bool = True,
        bounds_all: bool = False,
        refused: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[Self]:
        """Connect, waiting for a server that does not answer yet, and close everything at the end.

        :param url: ``mongodb://user:password@host1,host2/name?replicaSet=rs0&tls=true&tlsCAFile=…``; the service's database is
            ``<name>_<service>``.
        :param limits: of statements, and of how long a transaction is begun anew because it clashed with others.
        :param setting: that the URL comes from, for who must set it right. :param waits: False: whoever asks first waits.
        :param bounds_all: whether what is asked of a collection directly is bounded like a statement.
        :param refused: is called when the server refuses the user or the password: who knows another may :meth:`use` it.
        :raises ConfigError: the server answers and does not let us in, or is none that the platform can run on.
        """
        made = partial(
            client_of,
            name=f"stylobate-{service}",
            pool_size=pool_size,
            connect_timeout=connect_timeout,
            setting=setting,
            within=limits.statement if bounds_all else None,
        )
        login = Login(url, setting=setting, refused=refused, refusal=LoginRefusedError)
        manager = cls(partial(Ways, login, made), database_of(url, service), hosts(url), limits)
        try:
            if waits:
                await wait_for_dependency(f"database {hosts(url)} for {service}", partial(manager._greet, setting, url))
            async with Signals.open(manager) as manager._signals:
                try:
                    yield manager
                finally:
                    await manager.leftovers.close()
        finally:
            await manager._ways.close()

    async def use(self, url: str) -> None:
        """Go on with another user or password; what is under way ends as who it was.

        :raises ConfigError: it is refused (it is used once the server takes it), or leads to another server or database.
        """
        await self._ways.use(url)
        self._signals.renew()

    def collection(self, name: str) -> Collection:
        """Return a collection as the driver has it."""
        return self._ways.current.collection(name)

    def check_held(self) -> None:
        """Raise DatabaseUnavailableError while nothing is to be asked of the server."""
        if self.held:
            raise DatabaseUnavailableError(metadata={"cause": self.held}, retry_after=RETRY_AFTER)

    def way(self) -> Way:
        """Return what a transaction goes by."""
        self.check_held()
        return self._ways.current

    async def settled(self) -> Way:
        """Return what statements go by; while another login is looked for, after that."""
        return await self._ways.settled()

    async def is_let_in_anew(self, way: Way, error: BaseException) -> bool:
        """Return whether the server did nothing because of who we were, and we are somebody else by now."""
        return await self._ways.found(way, error)

    def transaction(self) -> MongoTransaction:
        """Return a context manager that gives a transaction: committed at its end, undone on errors."""
        return MongoTransaction(self)

    async def transact(self, work: Callable[[MongoTransaction], Awaitable[T]]) -> T:
        """Do the work in a transaction; all of it again when that clashed with others, for as long as a lock may be waited for.

        :param work: may run several times, and must change nothing but what the transaction does.
        """
        pauses, began, until = backoff(initial=0.002, maximum=0.05), monotonic(), 0.0
        while True:
            try:
                async with MongoTransaction(self, replays=False, until=until) as transaction:
                    return await work(transaction)
            except ClashError as clash:
                pause = next(pauses)
                until = until or min(monotonic() + self.lock_s, began + self.statement_s)
                if monotonic() + pause > until:
                    raise unavailable(clash.__cause__ or clash) from clash
            await asyncio.sleep(pause)

    async def listen(self, channel: str, callback: Callable[[str], None]) -> Signalled:
        """Call back after each :meth:`notify` on the channel, from whichever process; returns when that holds.

        What is told while the stream is lost is lost: when it is there again the callback is called, and looks for itself. It
        must not block. Close the returned object to end it.
        """
        return await self._signals.listen(channel, callback)

    async def notify(self, channel: str) -> None:
        """Have the callbacks of a channel called. Raises DatabaseUnavailableError."""
        await self.bulk(SIGNAL, [UpdateOne({"_id": channel}, {"$inc": {"count": 1}}, upsert=True)], quickly=True)

    def hold(self, why: str) -> None:
        """Refuse everything with DatabaseUnavailableError, as if it did not answer, until it is held no more (empty)."""
        self.held = why

    async def command(self, command: str | dict[str, Any], *, on_admin: bool = False) -> Document:
        """Run a command of the server's, on this database or on ``admin``.

        Raises as statements do, and ConfigError where the user may not.
        """

        async def do(database: Any, _: AsyncClientSession | None) -> Document:
            found: Document = await database.command(command, codec_options=CODECS)
            return found

        try:
            return await self.run(lambda way: way.client.admin if on_admin else way.database, do)
        except OperationFailure as error:
            if is_about_rights(error):
                raise ConfigError([f"{URL}: database {self.name} at {self.where}: {may_not(error)}"]) from error
            raise

    async def now(self) -> datetime:
        """Return the time by the primary's clock."""
        found: datetime = (await self.command("hello"))["localTime"]
        return found

    async def health(self) -> Health:
        """Ask the primary, at most for a second."""
        started, status, details = monotonic(), Status.HEALTHY, ""
        try:
            async with asyncio.timeout(1):
                await self.command("ping")
        except DatabaseUnavailableError as error:
            status, details = Status.UNHEALTHY, f"the database does not answer ({error.metadata.get('cause', '')})"
        except TimeoutError:
            status, details = Status.UNHEALTHY, "the database does not answer within a second"
        metrics = {"in_use": float(self._in_use), "latency_ms": round((monotonic() - started) * 1000, 3)}
        return Health(status, details, metrics)

    async def _do(self, collection: str, do: Do[R], *, is_read: bool = False) -> R:
        return await self.run(lambda way: way.collection(collection), do, is_of_primary=is_read)

    async def run(self, on: Callable[[Way], Any], do: Do[R], *, is_of_primary: bool = False) -> R:
        """Send one statement.

        :param on: gives what it is sent to.
        :param is_of_primary: it reads, and is to see all that was acknowledged before, by a primary that is gone too.
        """
        self.check_held()
        self._in_use += 1
        try:
            way = await self._ways.settled()
            try:
                return await self._sent(way, on, do, is_of_primary=is_of_primary)
            except FAULTS as error:
                if not await self._ways.found(way, error):
                    raise
            return await self._sent(self._ways.current, on, do, is_of_primary=is_of_primary)
        except FAULTS as error:
            known = fault_of(error)
            if known is None:
                raise
            raise known from error
        finally:
            self._in_use -= 1

    async def _sent(self, way: Way, on: Callable[[Way], Any], do: Do[R], *, is_of_primary: bool) -> R:
        with pymongo.timeout(self.statement_s):
            return await (way.succession.read(on(way), do) if is_of_primary else do(on(way), None))

    async def _greet(self, setting: str, url: str) -> None:
        """Ask for a sign of life. Raises DatabaseUnavailableError, and ConfigError for what no waiting cures."""
        try:
            with refusals(setting, url):
                hello = await self._ways.current.client.admin.command("hello")
                check_greeting(setting, url, hello)
                await self._ways.current.look()
            if is_sharded(hello):
                tell_sharded(self.where)
        except ServerSelectionTimeoutError as error:
            await look(setting, url)
            raise unavailable(error) from error
        except (PyMongoError, OSError) as error:
            raise unavailable(error) from error


class Reader(Statements):
    """Reads from a secondary where there is one: what a majority has, maybe a moment old."""

    def __init__(self, database: MongoManager) -> None:
        self._database = database

    async def _do(self, collection: str, do: Do[R], *, is_read: bool = False) -> R:
        if not is_read:
            raise RuntimeError("a reader writes nothing")
        preference = SecondaryPreferred(max_staleness=SECONDARY_LAG_S)
        return await self._database.run(lambda way: way.collection(collection).with_options(read_preference=preference), do)


def client_of(
    url: str,
    name: str,
    *,
    pool_size: int = 10,
    connect_timeout: timedelta = timedelta(seconds=3),
    setting: str = URL,
    within: timedelta | None = None,
) -> AsyncMongoClient[Document]:
    """Return a client that connects when asked. Raises ConfigError for a URL that it does not take.

    :param within: how long a statement may take for which nothing else is said.
    """
    milliseconds = round(connect_timeout.total_seconds() * 1000)
    patience = max(_PATIENCE, connect_timeout - timedelta(seconds=2))
    waiting.mend()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what the driver does not understand it would pass over, with a warning
            return AsyncMongoClient(
                url,
                appname=name,
                maxPoolSize=pool_size + 1,  # one is the signals'
                minPoolSize=0,
                maxIdleTimeMS=_IDLE_MS,
                waitQueueTimeoutMS=_WAIT_MS,
                connectTimeoutMS=milliseconds,
                serverSelectionTimeoutMS=round(patience.total_seconds() * 1000),
                retryWrites=True,
                retryReads=True,
                timeoutMS=None if within is None else round(within.total_seconds() * 1000),
                _pool_class=LeanPool,
            )
    except (PyMongoError, ValueError, OSError, Warning) as error:
        raise ConfigError([f"{setting}: database {hosts(url)}: {error}"]) from error


def user_of(url: str) -> str:
    """Return the user that a URL names."""
    return urlsplit(url).username or ""
