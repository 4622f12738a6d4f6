"""The way into a database that a user and a password give, and how these are exchanged.

A client of the driver has its user and password for good, and one that was refused takes its server for lost, for up to ten
seconds. So another login is another client: statements take it at once, and transactions of the same user go over to it; those of
another user end on the one before.
"""

import asyncio
from collections.abc import Callable
from urllib.parse import urlsplit

import pymongo
from bson.codec_options import CodecOptions
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference

from stylobate.database.login import Login
from stylobate.database.mongodb.faults import NOT_US, LoginRefusedError, is_refused, unavailable, was_not_sent
from stylobate.database.mongodb.statements import Collection, Document
from stylobate.database.mongodb.succession import Succession
from stylobate.database.mongodb.transaction import MAJORITY
from stylobate.stopping import end

CODECS: CodecOptions[Document] = CodecOptions(tz_aware=True)
ALWAYS_THERE = "migration"
"""A collection that every service may read; what is in it does not matter."""
_LAST_S = 60.0
"""Then the server has ended every transaction that was begun on a way that nobody takes any more."""


class Way:
    """One client, and the database as it is seen through it."""

    def __init__(self, client: AsyncMongoClient[Document], user: str, name: str, statement_s: float) -> None:
        self.client = client
        self.user = user
        self.database = client.get_database(name, CODECS, ReadPreference.PRIMARY, MAJORITY, ReadConcern("majority"))
        self.succession = Succession(client, self.database.get_collection(ALWAYS_THERE), statement_s)
        self._collections: dict[str, Collection] = {}
        self._statement_s = statement_s

    def collection(self, name: str) -> Collection:
        """Return a collection as the driver has it."""
        if (found := self._collections.get(name)) is None:
            found = self._collections[name] = self.database.get_collection(name)
        return found

    def session(self) -> AsyncClientSession:
        """Return a session for a transaction."""
        return self.client.start_session(causal_consistency=False)

    def take_over(self, session: AsyncClientSession) -> None:
        """Have a session of the same user go on by this way: for the server it is the user's, whichever connection it comes by.

        The driver has no call for it.
        """
        session._client = self.client  # noqa: SLF001

    def is_refused(self) -> bool:
        """Return whether the driver takes a server for lost because that did not let us in."""
        servers = self.client.topology_description.server_descriptions().values()
        return any(is_refused(one.error) for one in servers if one.error is not None)

    async def look(self) -> None:
        """Ask for what the server does not let everybody see. Raises as the driver does."""
        with pymongo.timeout(self._statement_s):
            await self.collection(ALWAYS_THERE).find_one({}, {"_id": 1})


class Ways:
    """The way that is taken, and how another is found.

    :param made: makes a client, which connects when asked.
    """

    def __init__(self, login: Login, made: Callable[[str], AsyncMongoClient[Document]], name: str, statement_s: float) -> None:
        self._login = login
        self._made = made
        self._name, self._statement_s = name, statement_s
        self.current = self._way(login.url)
        self._finding: asyncio.Task[bool] | None = None
        self._left: dict[asyncio.Task[None], Way] = {}

    async def use(self, url: str) -> None:
        """Go on with another user or password; see DatabaseManager.use."""
        if url != self._login.url:
            await self._login.use(url, self._look)
            await self._take()

    async def found(self, refused: Way, error: BaseException) -> bool:
        """Return whether there is another way by now, for what the server refused because of who we are: it was not done."""
        if not is_refused(error) and not (was_not_sent(error) and self._is_left(refused)):
            return False
        if self.current is not refused:
            return True
        if self._finding is None:  # many that are refused ask once
            self._finding = asyncio.create_task(self._find(), name="database-login")
        return await asyncio.shield(self._finding)

    def _is_left(self, way: Way) -> bool:
        """Return whether a way is not taken any more, or is about to be left because the server refused it."""
        return way is not self.current or self._finding is not None or way.is_refused()

    async def settled(self) -> Way:
        """Return the way that is taken; while another is looked for, after that."""
        if self._finding is not None:
            await asyncio.shield(self._finding)
        return self.current

    async def close(self) -> None:
        """Close them all."""
        await end([*self._left, *filter(None, (self._finding,))])
        for way in (*self._left.values(), self.current):
            await way.client.close()

    def _way(self, url: str) -> Way:
        return Way(self._made(url), urlsplit(url).username or "", self._name, self._statement_s)

    async def _find(self) -> bool:
        try:
            await self._take()
        except (LoginRefusedError, PyMongoError, OSError):
            return False
        finally:
            self._finding = None
        return True

    async def _take(self) -> None:
        fresh = await self._login.connect(self._entered)
        former, self.current = self.current, fresh
        self._left[asyncio.create_task(self._leave(former), name="database-former-login")] = former

    async def _leave(self, way: Way) -> None:
        await asyncio.sleep(_LAST_S)
        await way.client.close()

    async def _entered(self, url: str) -> Way:
        """Return a way that lets us in. Raises LoginRefusedError, and what the driver raises of what else is wrong."""
        way = self._way(url)
        try:
            await way.look()
        except BaseException as error:
            await way.client.close()
            if isinstance(error, OperationFailure) and error.code in NOT_US:
                raise LoginRefusedError(f"it does not let us in: {(error.details or {}).get('errmsg', error)}") from error
            raise
        return way

    async def _look(self, url: str) -> None:
        try:
            way = await self._entered(url)
        except (PyMongoError, OSError) as error:
            raise unavailable(error) from error
        await way.client.close()
