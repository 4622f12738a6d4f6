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
from bson.codec_options import CodecOptions
from pymongo import AsyncMongoClient, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import OperationFailure, PyMongoError, ServerSelectionTimeoutError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference, SecondaryPreferred

from stylobate.config import ConfigError
from stylobate.database.address import hosts
from stylobate.database.faults import RETRY_AFTER
from stylobate.database.manager import Limits
from stylobate.database.mongodb.address import database_of
from stylobate.database.mongodb.faults import FAULTS, ClashError, fault_of, unavailable
from stylobate.database.mongodb.lean_pool import LeanPool
from stylobate.database.mongodb.leftovers import Leftovers
from stylobate.database.mongodb.refusal import check_greeting, is_about_rights, look, may_not, refusals
from stylobate.database.mongodb.signals import COLLECTION as SIGNAL
from stylobate.database.mongodb.signals import Signalled, Signals
from stylobate.database.mongodb.statements import Collection, Do, Document, R, Statements
from stylobate.database.mongodb.succession import Succession
from stylobate.database.mongodb.transaction import MAJORITY, MongoTransaction
from stylobate.database.refusal import URL
from stylobate.errors import DatabaseUnavailableError
from stylobate.health import Health, Status
from stylobate.logs import get_logger
from stylobate.resilience import backoff, wait_for_dependency

T = TypeVar("T")
_CODECS: CodecOptions[Document] = CodecOptions(tz_aware=True)
_LIMITS = Limits()
_PATIENCE = timedelta(seconds=1)
"""For a server that cannot be reached, before a caller is told."""
_WAIT_MS = 2000
_IDLE_MS = 10_000
SECONDARY_LAG_S = 90
_ALWAYS_THERE = "migration"
_log = get_logger("app")


class MongoManager(Statements):
    """The statements of one service, on its own database: read from the primary what a majority has, written to a majority.

    ``reader`` has the reading ones, from a secondary where there is one (what it gives may be a moment old).
    """

    def __init__(self, client: AsyncMongoClient[Document], name: str, where: str, limits: Limits) -> None:
        self._client = client
        self.name = name
        """Of its database."""
        self.where = where
        """The servers, for logs."""
        self.statement_s = limits.statement.total_seconds()
        self.lock_s = limits.lock.total_seconds()
        self.held = ""
        """Why nothing is asked of the server yet; empty: it is."""
        self._database = client.get_database(name, _CODECS, ReadPreference.PRIMARY, MAJORITY, ReadConcern("majority"))
        self._collections: dict[str, Collection] = {}
        self._succession = Succession(client, self._database.get_collection(_ALWAYS_THERE), self.statement_s)
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
    ) -> AsyncIterator[Self]:
        """Connect, waiting for a server that does not answer yet, and close everything at the end.

        :param url: ``mongodb://user:password@host1,host2/name?replicaSet=rs0&tls=true&tlsCAFile=…``; the service's database is
            ``<name>_<service>``.
        :param limits: of statements, and of how long a transaction is begun anew because it clashed with others.
        :param setting: that the URL comes from, for who must set it right. :param waits: False: whoever asks first waits.
        :param bounds_all: whether what is asked of a collection directly is bounded like a statement.
        :raises ConfigError: the server answers and does not let us in, or is none that the platform can run on.
        """
        client = client_of(
            url,
            f"stylobate-{service}",
            pool_size=pool_size,
            connect_timeout=connect_timeout,
            setting=setting,
            within=limits.statement if bounds_all else None,
        )
        try:
            manager = cls(client, database_of(url, service), hosts(url), limits)
            if waits:
                await wait_for_dependency(f"database {hosts(url)} for {service}", partial(manager._greet, setting, url))
            async with Signals.open(manager) as manager._signals:
                try:
                    yield manager
                finally:
                    await manager.leftovers.close()
        finally:
            await client.close()

    def collection(self, name: str) -> Collection:
        """Return a collection as the driver has it."""
        if (found := self._collections.get(name)) is None:
            found = self._collections[name] = self._database.get_collection(name)
        return found

    def session(self) -> AsyncClientSession:
        """Return a session for a transaction."""
        self.check_held()
        return self._client.start_session(causal_consistency=False)

    def check_held(self) -> None:
        """Raise DatabaseUnavailableError while nothing is to be asked of the server."""
        if self.held:
            raise DatabaseUnavailableError(metadata={"cause": self.held}, retry_after=RETRY_AFTER)

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
        database = self._client.admin if on_admin else self._database

        async def do(_: Collection, __: AsyncClientSession | None) -> Document:
            return await database.command(command, codec_options=_CODECS)

        try:
            return await self._do("", do)
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
        return await self.run(self._database if not collection else self.collection(collection), do, is_of_primary=is_read)

    async def run(self, on: Any, do: Do[R], *, is_of_primary: bool = False) -> R:
        """Send one statement.

        :param is_of_primary: it reads, and is to see all that was acknowledged before, by a primary that is gone too.
        """
        self.check_held()
        self._in_use += 1
        try:
            with pymongo.timeout(self.statement_s):
                return await (self._succession.read(on, do) if is_of_primary else do(on, None))
        except FAULTS as error:
            known = fault_of(error)
            if known is None:
                raise
            raise known from error
        finally:
            self._in_use -= 1

    async def _greet(self, setting: str, url: str) -> None:
        """Ask for a sign of life. Raises DatabaseUnavailableError, and ConfigError for what no waiting cures."""
        try:
            with refusals(setting, url):
                check_greeting(setting, url, await self._client.admin.command("hello"))
                # what the server does not let everybody see: the user and the password are looked at
                await self._database.get_collection(_ALWAYS_THERE).find_one({}, {"_id": 1})
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
        return await self._database.run(self._database.collection(collection).with_options(read_preference=preference), do)


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
