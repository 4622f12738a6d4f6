"""A transaction over several statements: of one snapshot, kept by a majority, made anew where it clashed with others.

PostgreSQL lets a writer wait for the lock of a row. MongoDB refuses whoever comes second, and what was done so far is undone. So
that stores can be written the same way over both, a transaction that was refused is begun anew here and its statements are sent
again: when each gives what it gave before, whoever runs the transaction need not know.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import pymongo
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import BulkWriteError, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from stylobate.database.mongodb.faults import FAULTS, ClashError, fault_of, is_commit_unknown, is_transient, unavailable
from stylobate.database.mongodb.statements import Collection, Do, Document, Filter, R, Statements
from stylobate.errors import UnavailableError
from stylobate.resilience import backoff

if TYPE_CHECKING:
    from stylobate.database.mongodb.manager import MongoManager
    from stylobate.database.mongodb.ways import Way

MAJORITY = WriteConcern("majority", j=True)
_SNAPSHOT = ReadConcern("snapshot")
Verb = Literal["insert", "update"]
_FIELDS: dict[Verb, str] = {"insert": "documents", "update": "updates"}
_PORTION = 4 * 1024 * 1024
"""Bytes of a message; it may have 16 MB."""
_ABORT_S = 0.5
_LEAST_S = 0.1


class MongoTransaction(Statements):
    """Statements that happen together at the end of the block, or not at all when it ends with an error.

    Reads see one moment. A write to what another transaction changed since then, or holds, waits: the transaction begins anew, at
    a later moment, and what it has read must still be so, else DatabaseUnavailableError says that it is to be tried again.
    Therefore what is decided upon is locked first, before anything is read: see :meth:`lock`.

    After DuplicateError or ValueRefusedError nothing more can be done in it.

    :param replays: whether it is begun anew here; else ClashError is raised, for who runs the whole of it again.
    :param until: when it is to have ended, on the monotonic clock, for who began before; 0: no time is set yet.
    """

    def __init__(self, database: "MongoManager", *, replays: bool = True, until: float = 0.0) -> None:
        self._database = database
        self._replays = replays
        self._way: Way
        self._session: AsyncClientSession
        self._done: list[tuple[str, Do[Any], Any]] = []
        self._signals: set[str] = set()
        self._afterwards: list[Callable[[], Awaitable[None]]] = []
        self._is_open = False
        self._clashes = backoff(initial=0.002, maximum=0.05)
        self._until = until
        self._asked = 0.0
        self._is_left = False

    @property
    def is_open(self) -> bool:
        """Whether statements can be made in it."""
        return self._is_open

    async def lock(self, collection: str, filter: Filter) -> Document | None:  # noqa: A002
        """Take the document that fits for this transaction and return it, or None: others that take it wait for our end.

        It counts ``locks`` in the document up, so its validator has to know of that. What is returned is without it: should the
        transaction be begun anew, it does not matter who had the document in between, unless something else changed in it.
        """
        return await self.find_and_update(collection, filter, {"$inc": {"locks": 1}}, projection={"locks": 0})

    def notify(self, channel: str) -> None:
        """Have the channel's listeners called once this is committed."""
        self._signals.add(channel)

    def on_end(self, release: Callable[[], Awaitable[None]]) -> None:
        """Call this when the transaction has ended, however it did, and to its end, though our caller may be gone by then.

        That the database does not answer is borne.
        """
        self._afterwards.append(release)

    async def write_each(
        self, collection: str, verb: Verb, items: Sequence[Document], sizes: Iterable[int], *, ordered: bool = True
    ) -> int:
        """Insert documents, or carry out updates as the server takes them: ``{"q": …, "u": …}``. None: nothing happens.

        It costs the process a third of :meth:`bulk`, whose operations are looked at one by one.

        :param sizes: about how many bytes each is: a message has an end. :returns: how many were inserted, found or made.
        """
        count = 0
        for some in _portions(items, sizes):
            count += await self._do(collection, partial(_written, verb, some, ordered))
        return count

    async def __aenter__(self) -> Self:
        """Begin; the server hears of it with the first statement."""
        self._way = self._database.way()
        self._session = self._way.session()
        await self._begin()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Commit, or undo after an error."""
        try:
            if error is None and self._is_open:
                await self._commit()
            elif error is None:
                raise RuntimeError("a transaction that had failed was to be committed")
        finally:
            try:
                await self._end()
            finally:
                await self._database.leftovers.settle(self._afterwards)
        if error is None and self._signals:
            with suppress(UnavailableError):  # who listens looks by itself as well
                for channel in self._signals:
                    await self._database.notify(channel)

    async def _do(self, collection: str, do: Do[R], *, is_read: bool = False) -> R:
        del is_read
        if not self._is_open:
            raise RuntimeError("this transaction has ended")
        while True:
            try:
                result = await self._once(collection, do)
            except ClashError as clash:
                await self._anew(clash)
                continue
            self._done.append((collection, do, result))
            return result

    async def _once(self, collection: str, do: Do[R]) -> R:
        """Send one statement. Raises ClashError where all may be begun anew; after other errors it is over."""
        self._asked = monotonic()
        await self._follow()
        try:
            with pymongo.timeout(self._left_s()):
                return await do(self._way.collection(collection), self._session)
        except FAULTS as error:
            if await self._database.is_let_in_anew(self._way, error):
                if await self._follow():
                    return await self._once(collection, do)
                self._is_left = True  # nobody may be able to undo what another user did
                raise ClashError from error
            if is_transient(error):
                raise ClashError from error
            self._is_open = False
            known = fault_of(error)
            if known is None:
                raise
            raise known from error
        except BaseException:
            self._is_open, self._is_left = False, True
            raise

    async def _follow(self) -> bool:
        """Go on with another password, where the user has one by now; return whether that is so."""
        way = await self._database.settled()
        if way is self._way or way.user != self._way.user:
            return False
        way.take_over(self._session)
        self._way = way
        return True

    async def _anew(self, clash: BaseException) -> None:
        """Begin anew and do what was done so far. Raises DatabaseUnavailableError where it turns out otherwise, or lasts."""
        cause = clash.__cause__ or clash
        if not self._replays:
            self._is_open = False
            raise clash
        # less than callers wait: what the statement took that failed counts too
        self._until = self._until or min(monotonic() + self._database.lock_s, self._asked + self._database.statement_s)
        while True:
            await self._abort()
            pause = next(self._clashes)
            if monotonic() + pause > self._until:
                self._is_open = False
                raise unavailable(cause) from cause
            await asyncio.sleep(pause)
            await self._begin()
            try:
                for collection, do, before in self._done:
                    if await self._once(collection, do) != before:
                        self._is_open = False
                        raise unavailable(cause) from cause
            except ClashError as again:
                cause = again.__cause__ or again
                continue
            return

    def _left_s(self) -> float:
        """Return how long the next statement may take."""
        statement_s = self._database.statement_s
        return max(_LEAST_S, min(statement_s, self._until - monotonic())) if self._until else statement_s

    async def _begin(self) -> None:
        way = self._database.way()
        if self._way is not way:  # another login took over
            await self._end_session()
            self._way, self._session = way, way.session()
        await self._session.start_transaction(
            read_concern=_SNAPSHOT, write_concern=MAJORITY, read_preference=ReadPreference.PRIMARY
        )
        self._is_open, self._is_left = True, False

    async def _commit(self) -> None:
        pauses = backoff(initial=0.02, maximum=0.25)
        self._asked = monotonic()
        until = self._asked + self._left_s()
        while True:
            self._is_left = True
            await self._follow()
            try:
                with pymongo.timeout(max(_LEAST_S, until - monotonic())):
                    await self._session.commit_transaction()
            except FAULTS as error:
                pause = next(pauses)
                if is_transient(error):  # the server says that it is over
                    self._is_left = False
                    clash = ClashError()
                    clash.__cause__ = error
                    await self._anew(clash)
                    continue
                is_other = await self._database.is_let_in_anew(self._way, error)
                if (is_other or is_commit_unknown(error)) and monotonic() + pause < until:
                    await asyncio.sleep(pause)
                    continue
                known = fault_of(error)
                if known is None:
                    raise
                raise known from error
            self._is_open = self._is_left = False
            return

    async def _abort(self) -> None:
        """Undo what was done; the driver does not tell whether the server heard of it."""
        if self._session.in_transaction:
            began, was_left, self._is_left = monotonic(), self._is_left, True
            with suppress(PyMongoError, OSError), pymongo.timeout(_ABORT_S):
                await self._session.abort_transaction()
            self._is_left = was_left or monotonic() - began >= _ABORT_S

    async def _end(self) -> None:
        self._is_open = False
        try:
            await self._abort()
        finally:
            await self._end_session()

    async def _end_session(self) -> None:
        if self._is_left:
            self._database.leftovers.leave(self._session)
        else:
            await self._session.end_session()


async def _written(
    verb: Verb, items: Sequence[Document], ordered: bool, on: Collection, session: AsyncClientSession | None
) -> int:
    said = await on.database.command({verb: on.name, "ordered": ordered, _FIELDS[verb]: items}, session=session)
    if errors := said.get("writeErrors"):
        raise BulkWriteError({"writeErrors": errors})
    return int(said["n"])


def _portions(items: Sequence[Document], sizes: Iterable[int]) -> Iterator[Sequence[Document]]:
    """Yield the items in messages that are not too large."""
    begin = together = 0
    for at, size in enumerate(sizes):
        if together and together + size > _PORTION:
            yield items[begin:at]
            begin, together = at, 0
        together += size
    if begin < len(items):
        yield items[begin:]
