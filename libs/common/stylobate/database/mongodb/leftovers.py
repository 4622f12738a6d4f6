"""What is to be done after transactions, though whoever ran them may be gone.

The server may not have heard of the end of one, which would hold up whoever writes the same for a minute. So it is with a
caller who went away while a statement or the commit was on its way, and where no connection was free to undo what was done. Such
a session is not used again before the server has been told to kill what is left of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

import pymongo
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import PyMongoError

from stylobate.database.mongodb.faults import is_refused
from stylobate.errors import UnavailableError
from stylobate.logs import get_logger
from stylobate.resilience import backoff
from stylobate.stopping import end, goes_on

if TYPE_CHECKING:
    from stylobate.database.mongodb.manager import MongoManager

_AGAIN_S = 0.5
"""What was on its way when its caller left may arrive after the first kill: it is killed once more."""
_LIFETIME_S = 60.0
"""Then the server ends a transaction by itself."""
_log = get_logger("app")


class Leftovers:
    """Those of one manager."""

    def __init__(self, database: "MongoManager") -> None:
        self._database = database
        self._tasks: set[asyncio.Task[None]] = set()

    def leave(self, session: AsyncClientSession) -> None:
        """Have what is left of a session's transaction killed, and the session ended then."""
        self._begin(self._end(session))

    async def settle(self, releases: Sequence[Callable[[], Awaitable[None]]]) -> None:
        """Call these, and wait for them; they go on when we are cancelled."""
        for task in [self._begin(_release(release)) for release in releases]:
            await asyncio.shield(task)

    async def close(self) -> None:
        """Give up what is not done yet."""
        await end(self._tasks)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="database-leftover")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _end(self, session: AsyncClientSession) -> None:
        try:
            await self._kill(session)
            await asyncio.sleep(_AGAIN_S)
            await self._kill(session)
        finally:
            await session.end_session()

    async def _kill(self, session: AsyncClientSession) -> None:
        pauses, until = backoff(initial=0.05, maximum=1.0), monotonic() + _LIFETIME_S
        while goes_on() and monotonic() < until:
            try:
                with pymongo.timeout(self._database.statement_s):  # by the user whose session it is
                    await session.client.admin.command({"killSessions": [session.session_id]})
            except (PyMongoError, OSError) as error:
                if is_refused(error):  # nobody is left who may
                    return
                _log.info("database_transaction_left", database=self._database.where, error=type(error).__name__)
                await asyncio.sleep(next(pauses))
            else:
                return


async def _release(release: Callable[[], Awaitable[None]]) -> None:
    with suppress(UnavailableError):
        await release()
